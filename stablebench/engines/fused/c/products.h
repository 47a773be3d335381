/* What a generated file calls of products.c. A call costs nothing next to a product, and products.c takes a second to
 * compile, most generated files a tenth of it. */
PRODUCT void (*multiply)(int64_t rows, int64_t inner, int64_t columns, const real *a, int64_t a_row, const real *packed,
                        real *c, int64_t c_row, int add, struct ahead *ahead);
PRODUCT void (*multiply_transposed)(int64_t steps, int64_t inner, int64_t rows, int64_t columns, const real *a,
                                   int64_t a_time, int64_t a_row, const real *m, int64_t m_time, int64_t m_row, real *c,
                                   int64_t c_row);
PRODUCT void (*pack)(int64_t inner, int64_t columns, const real *m, int64_t m_row, int64_t m_column, real *packed);

void use_products(void *const *functions)
{
    multiply = functions[0];
    multiply_transposed = functions[1];
    pack = functions[2];
}
