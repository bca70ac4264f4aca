//! Functions applied value by value or row by row: GELU, softmax, residual with layer normalization.
//!
//! Each loop is plain arithmetic inside a `pulp` dispatch, so that the compiler vectorises it for the instruction set
//! found at run time. Sums use sixteen independent partial sums, because a compiler may not reorder float additions.

use pulp::{Arch, Simd, WithSimd};

const LANES: usize = 16;

/// e^x for x <= 0 with a relative error below 3e-7; very negative values give 0 within 1e-38.
///
/// Cody-Waite reduction and the polynomial of Cephes `expf`.
#[inline(always)]
fn exp_of_negative(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it leaves the nearest integer in the low mantissa bits
    let x = x.max(-87.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-0.693_359_4, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    let p = r.mul_add(1.987_569_1e-4, 1.398_199_9e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_6e-1);
    let p = p.mul_add(r, 0.5);
    let p = p.mul_add(r * r, r) + 1.0;
    p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000))
}

/// 0.5 x (1 + erf(x / sqrt 2)); erf by Abramowitz and Stegun 7.1.26 (absolute error below 2e-7).
#[inline(always)]
fn gelu(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / z.mul_add(0.327_591_1, 1.0);
    let p = t.mul_add(1.061_405_4, -1.453_152);
    let p = p.mul_add(t, 1.421_413_8);
    let p = p.mul_add(t, -0.284_496_72);
    let p = p.mul_add(t, 0.254_829_6);
    let erf = 1.0 - p * t * exp_of_negative(-z * z);
    0.5 * x * (1.0 + erf.copysign(x))
}

struct Gelu<'a>(&'a mut [f32]);

impl WithSimd for Gelu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        for value in self.0 {
            *value = gelu(*value);
        }
    }
}

/// Applies the Gaussian error linear unit in place.
pub(crate) fn gelu_in_place(arch: Arch, values: &mut [f32]) {
    arch.dispatch(Gelu(values));
}

struct Softmax<'a> {
    rows: &'a mut [f32],
    stride: usize,
    length: usize,
    scale: f32,
}

impl WithSimd for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        for row in self.rows.chunks_exact_mut(self.stride) {
            let (row, _) = row.split_at_mut(self.length.min(self.stride));
            let (lanes, rest) = row.as_chunks_mut::<LANES>();
            let mut maxima = [f32::MIN; LANES];
            for lane in lanes.iter() {
                for (maximum, &value) in maxima.iter_mut().zip(lane) {
                    *maximum = if value > *maximum { value } else { *maximum };
                }
            }
            let maximum = maxima.iter().chain(rest.iter()).fold(f32::MIN, |most, &value| most.max(value));
            let mut sums = [0.0; LANES];
            for lane in lanes.iter_mut() {
                for (sum, value) in sums.iter_mut().zip(lane) {
                    *value = exp_of_negative((*value - maximum) * self.scale);
                    *sum += *value;
                }
            }
            let mut sum: f32 = sums.iter().sum();
            for value in rest.iter_mut() {
                *value = exp_of_negative((*value - maximum) * self.scale);
                sum += *value;
            }
            let inverse = 1.0 / sum;
            for value in row {
                *value *= inverse;
            }
        }
    }
}

/// Softmax of `scale` times the first `length` values of every row of `stride` values, in place.
pub(crate) fn softmax_rows(arch: Arch, rows: &mut [f32], stride: usize, length: usize, scale: f32) {
    arch.dispatch(Softmax { rows, stride, length, scale });
}

/// The two learned vectors of a layer normalization.
#[derive(Debug)]
pub(crate) struct Norm {
    /// Multiplied with the normalized value.
    pub(crate) weight: Vec<f32>,
    /// Added afterwards.
    pub(crate) bias: Vec<f32>,
    /// Added to the variance.
    pub(crate) epsilon: f32,
}

struct AddNorm<'a> {
    x: &'a mut [f32],
    y: Option<&'a [f32]>,
    norm: &'a Norm,
}

#[inline(always)]
fn sum_of(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let (lanes, rest) = row.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for lane in lanes {
        for (sum, &value) in sums.iter_mut().zip(lane) {
            *sum += f(value);
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|&value| f(value)).sum::<f32>()
}

impl WithSimd for AddNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Norm { weight, bias, epsilon } = self.norm;
        let width = weight.len();
        if let Some(y) = self.y {
            for (x, &y) in self.x.iter_mut().zip(y) {
                *x += y;
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a row is 384 wide")]
        let inverse_width = 1.0 / width as f32;
        for row in self.x.chunks_exact_mut(width) {
            let mean = sum_of(row, |value| value) * inverse_width;
            let variance = sum_of(row, |value| (value - mean) * (value - mean)) * inverse_width;
            let inverse = 1.0 / (variance + epsilon).sqrt();
            for ((value, &weight), &bias) in row.iter_mut().zip(weight).zip(bias) {
                *value = ((*value - mean) * inverse).mul_add(weight, bias);
            }
        }
    }
}

/// `x = normalize(x + y)` for every row, in place.
pub(crate) fn add_norm(arch: Arch, x: &mut [f32], y: Option<&[f32]>, norm: &Norm) {
    arch.dispatch(AddNorm { x, y, norm });
}

/// Scales a vector to length 1; a zero vector stays as it is.
pub(crate) fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length > 1e-12 {
        for value in vector {
            *value /= length;
        }
    }
}

/// Dot product of two vectors of the same length: the cosine when both have length 1.
#[must_use]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_over_the_whole_range() {
        for i in 0..=8700_u16 {
            let x = -f32::from(i) / 100.0;
            let want = f64::from(x).exp();
            assert!(((f64::from(exp_of_negative(x)) - want) / want).abs() < 1e-6, "{x}");
        }
        assert!(exp_of_negative(-1e9) < 1e-37);
    }

    #[test]
    fn gelu_matches_reference_values() {
        // 0.5 x (1 + erf(x / sqrt 2)) to seven digits.
        for (x, want) in
            [(0.0, 0.0), (1.0, 0.841_344_7), (-1.0, -0.158_655_3), (3.0, 2.995_950_3), (-0.5, -0.154_268_8)]
        {
            assert!((gelu(x) - want).abs() < 1e-6, "{x}");
        }
        assert!(gelu(-20.0).abs() < 1e-6);
    }

    #[test]
    fn softmax_sums_to_one_and_leaves_the_padding() {
        let arch = Arch::new();
        let mut rows: Vec<f32> = (0..2 * 40).map(|i: u8| f32::from(i) / 7.0).collect();
        softmax_rows(arch, &mut rows, 40, 37, 0.5);
        for (r, row) in rows.chunks_exact(40).enumerate() {
            assert!((row[..37].iter().sum::<f32>() - 1.0).abs() < 1e-5);
            let ratio = row[36] / row[35];
            assert!((ratio - (0.5_f32 / 7.0).exp()).abs() < 1e-4, "{ratio}");
            assert!((row[37] - f32::from(u8::try_from(r * 40 + 37).unwrap()) / 7.0).abs() < 1e-6);
        }
    }

    #[test]
    fn norm_gives_mean_and_deviation() {
        let norm = Norm { weight: vec![2.0; 20], bias: vec![1.0; 20], epsilon: 1e-12 };
        let mut x: Vec<f32> = (0..20_u8).map(f32::from).collect();
        let y = x.clone();
        add_norm(Arch::new(), &mut x, Some(&y), &norm);
        let mean = x.iter().sum::<f32>() / 20.0;
        let variance = x.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / 20.0;
        assert!((mean - 1.0).abs() < 1e-5 && (variance - 4.0).abs() < 1e-4);
    }
}
