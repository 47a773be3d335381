/* Products of packed Givens rotations, for the type `real` (defined ahead of this text), a block of columns at a time.
 *
 * Round k turns the pairs (first[k * pairs + i], second[k * pairs + i]) by an angle with the given cosine and sine:
 * y_a = c x_a + s x_b, y_b = -s x_a + c x_b.
 */
#include <stdint.h>
#include <stdlib.h>

enum { COLUMNS = 64 / sizeof(real) * 2 };
typedef real row[COLUMNS];

/* out (n, n) = P_1 ... P_rounds. Returns 0 if there is no memory. */
int rotate(int64_t n, int64_t rounds, int64_t pairs, const int64_t *first, const int64_t *second, const real *cosine,
           const real *sine, real *out)
{
    row *const x = malloc(n * sizeof(row));
    if (!x) return 0;
    for (int64_t start = 0; start < n; start += COLUMNS) {
        const int64_t columns = n - start < COLUMNS ? n - start : COLUMNS;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < COLUMNS; j++) x[i][j] = i == start + j;
        for (int64_t p = rounds * pairs; p-- > 0;) {
            const real c = cosine[p], s = sine[p];
            real *const a = x[first[p]], *const b = x[second[p]];
#pragma omp simd
            for (int64_t j = 0; j < COLUMNS; j++) {
                const real y = c * a[j] + s * b[j];
                b[j] = c * b[j] - s * a[j];
                a[j] = y;
            }
        }
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < columns; j++) out[i * n + start + j] = x[i][j];
    }
    free(x);
    return 1;
}

/* d_angle (rounds, pairs) += the derivative of sum(d_out * out) in every angle; all rotations are undone one by one. */
int rotate_reverse(int64_t n, int64_t rounds, int64_t pairs, const int64_t *first, const int64_t *second,
                   const real *cosine, const real *sine, const real *out, const real *d_out, double *d_angle)
{
    row *const x = malloc(n * sizeof(row)), *const d = malloc(n * sizeof(row));
    if (x && d)
        for (int64_t start = 0; start < n; start += COLUMNS) {
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = 0; j < COLUMNS; j++) {
                    x[i][j] = start + j < n ? out[i * n + start + j] : 0;
                    d[i][j] = start + j < n ? d_out[i * n + start + j] : 0;
                }
            for (int64_t p = 0; p < rounds * pairs; p++) {
                const real c = cosine[p], s = sine[p];
                real *const a = x[first[p]], *const b = x[second[p]];
                real *const d_a = d[first[p]], *const d_b = d[second[p]];
                real sum = 0;
#pragma omp simd reduction(+ : sum)
                for (int64_t j = 0; j < COLUMNS; j++) {
                    const real x_a = a[j], x_b = b[j], g_a = d_a[j], g_b = d_b[j];
                    sum += g_a * x_b - g_b * x_a;
                    a[j] = c * x_a - s * x_b;
                    b[j] = s * x_a + c * x_b;
                    d_a[j] = c * g_a - s * g_b;
                    d_b[j] = s * g_a + c * g_b;
                }
                d_angle[p] += sum;
            }
        }
    const int done = x && d;
    free(x);
    free(d);
    return done;
}
