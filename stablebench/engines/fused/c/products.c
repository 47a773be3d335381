/* Products of small matrices of the type `real`, compiled once and called by every generated file: after functions.c.
 *
 * A matrix is packed once per sequence; then the same product runs at every time step. PRODUCT is `static` in a
 * generated file that includes them, to be inlined for its sizes.
 */
#include <string.h>

#ifndef VECTOR_BYTES
#if defined __AVX512F__
#define VECTOR_BYTES 64
#elif defined __AVX__
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif
#endif
#ifndef TILE_ROWS /* tuning.py has others; sums are the same in all */
#define TILE_ROWS 8
#define TILE_VECTORS 3
#endif
#ifdef NARROW /* columns of the widest matrix; all is inlined for its sizes */
#define PANEL INLINE
enum { LANES = VECTOR_BYTES / sizeof(real), WIDEST = (NARROW + LANES - 1) / LANES };
enum { MOST_VECTORS = WIDEST < TILE_VECTORS ? WIDEST : TILE_VECTORS };
#else
#define PANEL static __attribute__((noinline, noclone))
enum { LANES = VECTOR_BYTES / sizeof(real), MOST_VECTORS = TILE_VECTORS };
#endif
typedef real vector __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));

/* c[r][j] (+)= sum over i of a[r * a_row + i * a_inner] * m[i * m_inner + j], for r < rows and j < columns; the sums
 * stay in registers. Reads m up to whole vectors. */
INLINE void tile(const int rows, const int vectors, int64_t inner, const real *a, int64_t a_row, int64_t a_inner,
                 const real *m, int64_t m_inner, real *c, int64_t c_row, int64_t columns, int add)
{
    vector sum[TILE_ROWS][MOST_VECTORS];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) sum[r][v] = (vector){0};
    for (int64_t i = 0; i < inner; i++)
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < vectors; v++)
                sum[r][v] += a[r * a_row + i * a_inner] * *(const vector *)(m + i * m_inner + v * LANES);
    if (columns == vectors * LANES) {
        for (int r = 0; r < rows; r++, c += c_row)
            for (int v = 0; v < vectors; v++) {
                vector *const at = (vector *)(c + v * LANES);
                if (add) *at += sum[r][v];
                else *at = sum[r][v];
            }
        return;
    }
    for (int r = 0; r < rows; r++, c += c_row) {
        real whole[MOST_VECTORS * LANES];
        memcpy(whole, sum[r], sizeof whole);
        for (int j = 0; j < columns; j++) c[j] = add ? c[j] + whole[j] : whole[j];
    }
}

#define TILE(ROWS, VECTORS)                                                                                            \
    if (ROWS <= TILE_ROWS && VECTORS <= MOST_VECTORS && now == ROWS && vectors == VECTORS)                             \
        tile(ROWS, VECTORS, inner, a + r * a_row, a_row, a_inner, m, m_inner, c + r * c_row, c_row, columns, add);
#ifndef TILES /* at most 12 rows and 4 vectors */
#define OF(ROWS) TILE(ROWS, 1) TILE(ROWS, 2) TILE(ROWS, 3) TILE(ROWS, 4)
#define TILES OF(1) OF(2) OF(3) OF(4) OF(5) OF(6) OF(7) OF(8) OF(9) OF(10) OF(11) OF(12)
#endif

/* The same for any number of rows, divided evenly; columns <= MOST_VECTORS * LANES. Some of `ahead` is fetched. */
PANEL void panel(int64_t rows, int64_t inner, const real *a, int64_t a_row, int64_t a_inner, const real *m,
                  int64_t m_inner, real *c, int64_t c_row, int64_t columns, int add, struct ahead *ahead)
{
    const int vectors = (int)((columns + LANES - 1) / LANES);
    const int64_t tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
    for (int64_t r = 0, k = 1, now; r < rows; r += now, k++) {
        now = k * rows / tiles - r;
        TILES
        for (int64_t n = inner / 4; ahead && n > 0 && ahead->at < ahead->end; n--, ahead->at += 64)
            __builtin_prefetch(ahead->at, 0, 2);
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
                      real *c, int64_t c_row, int add, struct ahead *ahead)
{
    for (int64_t p = 0, start = 0, stop; start < columns; p++, start = stop) {
        stop = panel_start(columns, p + 1);
        const int64_t padded = (stop - start + LANES - 1) / LANES * LANES;
        panel(rows, inner, a, a_row, 1, packed, padded, c + start, c_row, stop - start, add, ahead);
        packed += inner * padded;
    }
}

enum { COPIED = 32768 / sizeof(real) };

/* c (rows, columns) += the sum over `steps` of a^T @ m, a (inner, rows), m (inner, columns). Reads m up to whole vectors
 * beyond its last column. Steps that lie one after the other in memory are one sum, so that c is written once. Columns
 * that many tiles read are copied where rows at a distance of 4 KiB would drive each other out of the cache. */
PRODUCT void multiply_transposed(int64_t steps, int64_t inner, int64_t rows, int64_t columns, const real *a,
                               int64_t a_time, int64_t a_row, const real *m, int64_t m_time, int64_t m_row, real *c,
                               int64_t c_row)
{
    if (a_time == inner * a_row && m_time == inner * m_row) {
        inner *= steps;
        steps = 1;
    }
    real copied[COPIED];
    for (int64_t t = 0; t < steps; t++)
        for (int64_t p = 0, start = 0, stop; start < columns; p++, start = stop) {
            stop = panel_start(columns, p + 1);
            const int64_t padded = (stop - start + LANES - 1) / LANES * LANES;
            const int is_copied = m_row * sizeof(real) % 4096 == 0 && rows >= 4 * TILE_ROWS && inner * padded <= COPIED;
            const real *from = m + t * m_time + start;
            for (int64_t i = 0; is_copied && i < inner; i++)
                for (int64_t j = 0; j < padded; j += LANES)
                    *(vector *)(copied + i * padded + j) = *(const vector *)(from + i * m_row + j);
            panel(rows, inner, a + t * a_time, 1, a_row, is_copied ? copied : from, is_copied ? padded : m_row, c + start,
                  c_row, stop - start, 1, 0);
        }
}

/* In a generated file that has these products itself there is nothing to set. */
void use_products(void *const *functions) { (void)functions; }
