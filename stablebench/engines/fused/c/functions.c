/* What every generated file starts with: elementary functions of the type `real`.
 *
 * They have no branch that a vectoriser could not turn into a select, keep NaN, and need no compiler flag that gives up
 * infinities or NaN.
 */
#include <stdint.h>

#ifdef DOUBLE
typedef double real;
typedef int64_t bits;
typedef uint64_t unsigned_bits;
enum { MANTISSA = 52, BIAS = 1023 };
#else
typedef float real;
typedef int32_t bits;
typedef uint32_t unsigned_bits;
enum { MANTISSA = 23, BIAS = 127 };
#endif

/* Memory that is needed soon, as far as it is not yet fetched into a cache. */
struct ahead { const char *at, *end; };

static inline real absolute(real x) { return sizeof(real) == 4 ? __builtin_fabsf(x) : __builtin_fabs(x); }
static inline real sign(real x) { return (real)((x > 0) - (x < 0)); }
static inline real relu(real x) { return x <= 0 ? 0 : x; }
static inline real leaky_relu(real x, real slope) { return x > 0 ? x : x * slope; }
static inline real square_root(real x) { return sizeof(real) == 4 ? __builtin_sqrtf(x) : __builtin_sqrt(x); }

/* The nearest whole number, an even one from half way: all from `shift` on are whole. */
static inline real rounded(real x)
{
#ifdef DOUBLE
    const real shift = 0x1p52;
#else
    const real shift = 0x1p23f;
#endif
    const real a = absolute(x), whole = (a + shift) - shift;
    return a < shift ? (x < 0 ? -whole : whole) : x;
}

/* exp(x) = 2^n exp(r), n whole, |r| <= ln(2)/2; 0 where it is below 2^-125 (float) or 2^-1021 (double).
 * Splitting of ln(2) and coefficients: S. Moshier, Cephes Mathematical Library, expf.c and exp.c. */
static inline real exponential(real x)
{
#ifdef DOUBLE
    const real low = -707.7, high = 709.78, shift = 0x1.8p52; /* x + shift rounds x to a whole number */
    const real ln2_high = 6.93145751953125e-1, ln2_low = 1.42860682030941723212e-6;
#else
    const real low = -86.6f, high = 88.72f, shift = 0x1.8p23f;
    const real ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
#endif
    union { real r; bits i; } shifted, scale;
    shifted.r = x * (real)1.4426950408889634 + shift;
    const real n = shifted.r - shift;
    const real r = (x - n * ln2_high) - n * ln2_low;
    const real s = r * r;
#ifdef DOUBLE
    const real p = r * ((1.26177193074810590878e-4 * s + 3.02994407707441961300e-2) * s + 9.99999999999999999910e-1);
    const real q = ((3.00198505138664455042e-6 * s + 2.52448340349684104192e-3) * s + 2.27265548208155028766e-1) * s + 2;
    const real e = 1 + 2 * p / (q - p);
#else
    const real p = ((((1.9875691500e-4f * r + 1.3981999507e-3f) * r + 8.3334519073e-3f) * r + 4.1665795894e-2f) * r
                    + 1.6666665459e-1f) * r + 5.0000001201e-1f;
    const real e = p * s + r + 1;
#endif
    scale.i = ((shifted.i << MANTISSA) + ((bits)(BIAS - 1) << MANTISSA)); /* 2^(n - 1): 2^n may be infinite */
    const real result = 2 * e * scale.r;
    return x < low ? 0 : (x > high ? (real)__builtin_inf() : result);
}

static inline real sigmoid(real x) { return 1 / (1 + exponential(-x)); }

/* Coefficients for |x| < 0.625: Cephes, tanhf.c and tanh.c. */
static inline real hyperbolic_tangent(real x)
{
    const real a = absolute(x), s = x * x;
    const real large = 1 - 2 / (exponential(2 * a) + 1);
#ifdef DOUBLE
    const real p = (-9.64399179425052238628e-1 * s - 9.92877231001918586564e1) * s - 1.61468768441708447952e3;
    const real q = ((s + 1.12811678491632931402e2) * s + 2.23548839060100448583e3) * s + 4.84406305325125486048e3;
    const real small = x * s * (p / q) + x;
#else
    const real small = ((((-5.70498872745e-3f * s + 2.06390887954e-2f) * s - 5.37397155531e-2f) * s
                         + 1.33314422036e-1f) * s - 3.33332819422e-1f) * s * x + x;
#endif
    return a < (real)0.625 ? small : (x < 0 ? -large : large);
}

/* log(x) = k ln(2) + log(1 + f), 1 + f between sqrt(1/2) and sqrt(2): K. C. Ng, FreeBSD, e_log.c and e_logf.c. Numbers
 * below the normal ones are multiplied up first. */
static inline real logarithm(real x)
{
#ifdef DOUBLE
    const real shift = 0x1.8p52, up = 0x1p54, least = 0x1p-1022;
    const bits one = 0x3ff0000000000000, root = 0x3fe6a09e667f3bcd;
    const real ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
#else
    const real shift = 0x1.8p23f, up = 0x1p25f, least = 0x1p-126f;
    const bits one = 0x3f800000, root = 0x3f3504f3;
    const real ln2_high = 6.9313812256e-01f, ln2_low = 9.0580006145e-06f;
#endif
    union { real r; bits i; } in, exponent, reduced;
    in.r = x < least ? x * up : x;
    const bits moved = in.i + (one - root);
    exponent.r = shift;
    exponent.i += (bits)((unsigned_bits)moved >> MANTISSA) - BIAS; /* a whole number, added to the last places of `shift` */
    reduced.i = (moved & (((bits)1 << MANTISSA) - 1)) + root;
    const real k = (exponent.r - shift) - (x < least ? (sizeof(real) == 4 ? 25 : 54) : 0);
    const real f = reduced.r - 1, s = f / (2 + f), z = s * s, w = z * z, half = f * f / 2;
#ifdef DOUBLE
    const real odd = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01));
    const real even = z * (6.666666666666735130e-01 + w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01
                                                                                       + w * 1.479819860511658591e-01)));
#else
    const real odd = w * (4.0000972152e-01f + w * 2.4279078841e-01f);
    const real even = z * (6.6666662693e-01f + w * 2.8498786688e-01f);
#endif
    const real result = k * ln2_high - ((half - (s * (half + odd + even) + k * ln2_low)) - f);
    return x > 0 ? (x < (real)__builtin_inf() ? result : x) : (x == 0 ? -(real)__builtin_inf() : (real)__builtin_nan(""));
}

/* log(1 + x) for x >= 0; what rounding of 1 + x loses is put back. */
static inline real logarithm_of_one_plus(real x)
{
    const real u = 1 + x;
    return logarithm(u) + (x - (u - 1)) / u;
}

static inline real softplus(real x)
{
    return x > 20 ? x : relu(x) + logarithm_of_one_plus(exponential(-absolute(x)));
}

static inline real log_sigmoid(real x) { return -relu(-x) - logarithm_of_one_plus(exponential(-absolute(x))); }

#define INLINE static inline __attribute__((always_inline))
