/* Products of small matrices of the type `real`, compiled once and called by every generated file: after functions.c.
 *
 * A matrix is packed once per sequence; then the same product runs at every time step. PRODUCT is `static` in a
 * generated file that includes them, to be inlined for its sizes.
 */
#include <string.h>

#if defined __AVX512F__
enum { BYTES = 64 };
#elif defined __AVX__
enum { BYTES = 32 };
#else
enum { BYTES = 16 };
#endif
enum { LANES = BYTES / sizeof(real), MOST_VECTORS = 3, MOST_ROWS = 8 };
typedef real vector __attribute__((vector_size(BYTES), aligned(sizeof(real)), may_alias));

/* c[r][j] (+)= sum over i of a[r * a_row + i * a_inner] * m[i * m_inner + j], for r < rows and j < columns; the sums
 * stay in registers. Reads m up to whole vectors. */
INLINE void tile(const int rows, const int vectors, int64_t inner, const real *a, int64_t a_row, int64_t a_inner,
                 const real *m, int64_t m_inner, real *c, int64_t c_row, int64_t columns, int add)
{
    vector sum[MOST_ROWS][MOST_VECTORS];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) sum[r][v] = (vector){0};
    for (int64_t i = 0; i < inner; i++)
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < vectors; v++)
                sum[r][v] += a[r * a_row + i * a_inner] * *(const vector *)(m + i * m_inner + v * LANES);
    for (int r = 0; r < rows; r++, c += c_row) {
        real whole[MOST_VECTORS * LANES];
        memcpy(whole, sum[r], sizeof whole);
        if (columns == vectors * LANES)
            for (int j = 0; j < vectors * LANES; j++) c[j] = add ? c[j] + whole[j] : whole[j];
        else
            for (int j = 0; j < columns; j++) c[j] = add ? c[j] + whole[j] : whole[j];
    }
}

#define CASE(ROWS, VECTORS)                                                                                            \
    case 4 * ROWS + VECTORS:                                                                                           \
        tile(ROWS, VECTORS, inner, a + r * a_row, a_row, a_inner, m, m_inner, c + r * c_row, c_row, columns, add);     \
        break;

/* The same for any number of rows; columns <= MOST_VECTORS * LANES. */
INLINE void panel(int64_t rows, int64_t inner, const real *a, int64_t a_row, int64_t a_inner, const real *m,
                  int64_t m_inner, real *c, int64_t c_row, int64_t columns, int add)
{
    const int vectors = (int)((columns + LANES - 1) / LANES);
    for (int64_t r = 0, now; r < rows; r += now) {
        now = rows - r >= 8 ? 8 : rows - r >= 4 ? 4 : rows - r >= 2 ? 2 : 1;
        switch (4 * now + vectors) {
            CASE(8, 1) CASE(8, 2) CASE(8, 3) CASE(4, 1) CASE(4, 2) CASE(4, 3)
            CASE(2, 1) CASE(2, 2) CASE(2, 3) CASE(1, 1) CASE(1, 2) CASE(1, 3)
        }
    }
}

/* Columns are divided evenly into panels of at most MOST_VECTORS vectors; panel p starts at this column. */
static int64_t panel_start(int64_t columns, int64_t p)
{
    const int64_t vectors = (columns + LANES - 1) / LANES, panels = (vectors + MOST_VECTORS - 1) / MOST_VECTORS;
    const int64_t start = p * vectors / panels * LANES;
    return start < columns ? start : columns;
}

int64_t packed_size(int64_t inner, int64_t columns) { return inner * ((columns + LANES - 1) / LANES * LANES); }

/* Copies m, with element (i, j) at m[i * m_row + j * m_column], panel by panel, each padded with zeros. */
PRODUCT void pack(int64_t inner, int64_t columns, const real *m, int64_t m_row, int64_t m_column, real *packed)
{
    for (int64_t p = 0, start = 0, stop; start < columns; p++, start = stop) {
        stop = panel_start(columns, p + 1);
        for (int64_t i = 0; i < inner; i++)
            for (int64_t j = start; (j - start) % LANES || j < stop; j++)
                *packed++ = j < stop ? m[i * m_row + j * m_column] : 0;
    }
}

/* c (rows, columns) (+)= a (rows, inner) @ packed. */
PRODUCT void multiply(int64_t rows, int64_t inner, int64_t columns, const real *a, int64_t a_row, const real *packed,
                    real *c, int64_t c_row, int add)
{
    for (int64_t p = 0, start = 0, stop; start < columns; p++, start = stop) {
        stop = panel_start(columns, p + 1);
        const int64_t padded = (stop - start + LANES - 1) / LANES * LANES;
        panel(rows, inner, a, a_row, 1, packed, padded, c + start, c_row, stop - start, add);
        packed += inner * padded;
    }
}

/* c (rows, columns) += the sum over `steps` of a^T @ m, a (inner, rows), m (inner, columns). Reads m up to whole vectors
 * beyond its last column. Steps that lie one after the other in memory are one sum, so that c is written once. */
PRODUCT void multiply_transposed(int64_t steps, int64_t inner, int64_t rows, int64_t columns, const real *a,
                               int64_t a_time, int64_t a_row, const real *m, int64_t m_time, int64_t m_row, real *c,
                               int64_t c_row)
{
    if (a_time == inner * a_row && m_time == inner * m_row) {
        inner *= steps;
        steps = 1;
    }
    for (int64_t t = 0; t < steps; t++)
        for (int64_t p = 0, start = 0, stop; start < columns; p++, start = stop) {
            stop = panel_start(columns, p + 1);
            panel(rows, inner, a + t * a_time, 1, a_row, m + t * m_time + start, m_row, c + start, c_row, stop - start,
                  1);
        }
}

/* In a generated file that has these products itself there is nothing to set. */
void use_products(void *const *functions) { (void)functions; }
