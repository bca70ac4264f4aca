//! The `Q4_0` format of ggml: 32 weights in 18 bytes, a half-precision scale and 16 bytes of two 4-bit values each.

/// Weights of one block.
pub(crate) const BLOCK_WEIGHTS: usize = 32;
/// Bytes of one block.
pub(crate) const BLOCK_BYTES: usize = 18;

/// Converts IEEE 754 binary16 to f32.
fn half_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let exponent = u32::from(bits >> 10) & 0x1f;
    let mantissa = u32::from(bits & 0x3ff);
    let magnitude = match exponent {
        // Subnormal: mantissa * 2^-24, exact in f32.
        0 => return f32::from_bits(sign | 0x3f80_0000) * f32::from(bits & 0x3ff) * 2.0_f32.powi(-24),
        31 => 0x7f80_0000 | (mantissa << 13),
        _ => ((exponent + 112) << 23) | (mantissa << 13),
    };
    f32::from_bits(sign | magnitude)
}

/// Expands whole blocks into `out`, which takes 32 values a block. Incomplete trailing bytes are ignored.
pub(crate) fn dequantize(blocks: &[u8], out: &mut [f32]) {
    let (blocks, _) = blocks.as_chunks::<BLOCK_BYTES>();
    let (out, _) = out.as_chunks_mut::<BLOCK_WEIGHTS>();
    for ([low, high, quants @ ..], out) in blocks.iter().zip(out) {
        let scale = half_to_f32(u16::from_le_bytes([*low, *high]));
        let (first, second) = out.split_at_mut(BLOCK_WEIGHTS / 2);
        for ((quant, first), second) in quants.iter().zip(first).zip(second) {
            *first = (f32::from(quant & 0x0f) - 8.0) * scale;
            *second = (f32::from(quant >> 4) - 8.0) * scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves() {
        for (bits, want) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3555, 0.333_251_95),
            (0x0001, 5.960_464_5e-8),
            (0x8000, -0.0),
            (0x03ff, 6.097_555e-5),
        ] {
            assert_eq!(half_to_f32(bits).to_bits(), f32::to_bits(want), "{bits:04x}");
        }
        assert!(half_to_f32(0x7c00).is_infinite());
    }

    #[test]
    fn low_nibbles_come_first() {
        let mut block = vec![0x00, 0x38]; // 0.5
        block.extend((0..16).map(|i| i | ((15 - i) << 4)));
        let mut out = [0.0; 32];
        dequantize(&block, &mut out);
        assert_eq!(out[..3], [-4.0, -3.5, -3.0]);
        assert_eq!(out[16..19], [3.5, 3.0, 2.5]);
    }
}
