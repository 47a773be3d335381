/* What a step does, for timing: the product of its states, the one of a weight gradient, and tanh: after products.c. The
 * numbers of rows are multiples of every tile's. */
enum { BATCH = 48, INNER = 96, COLUMNS = 128 };

void probe(int64_t repeats)
{
    static real left[BATCH * INNER], matrix[INNER * COLUMNS], packed[INNER * COLUMNS], out[BATCH * COLUMNS];
    static real gradient[INNER * COLUMNS];
    for (int64_t i = 0; i < BATCH * INNER; i++) left[i] = (real)0.01 * (real)(i % 17 - 8);
    for (int64_t i = 0; i < INNER * COLUMNS; i++) matrix[i] = (real)0.03 * (real)(i % 13 - 6);
    pack(INNER, COLUMNS, matrix, COLUMNS, 1, packed);
    for (int64_t n = 0; n < repeats; n++) {
        multiply(BATCH, INNER, COLUMNS, left, INNER, packed, out, COLUMNS, 0, 0);
        for (int64_t b = 0; b < BATCH; b++)
#pragma omp simd
            for (int64_t j = 0; j < COLUMNS; j++) out[b * COLUMNS + j] = hyperbolic_tangent(out[b * COLUMNS + j]);
        memset(gradient, 0, sizeof gradient);
        multiply_transposed(1, BATCH, INNER, COLUMNS, left, 0, INNER, out, 0, COLUMNS, gradient, COLUMNS);
    }
}
