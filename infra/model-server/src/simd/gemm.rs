//! Matrix product `C = A · B (+ bias)` in f32, with `B` packed once so that the inner loop reads it in order.
//!
//! Shapes: `A` is rows x inner, row-major with any row stride; `B` is inner x columns; `C` is rows x columns,
//! row-major with any row stride. The blocking follows Goto and van de Geijn, "Anatomy of High-Performance Matrix
//! Multiplication" (2008): a register tile of `C`, a panel of `B` in the first cache, a block of `A` in the second.
#![expect(
    clippy::indexing_slicing,
    reason = "arithmetic on shapes that the constructors assert; a checked access per element would hide the maths"
)]

use pulp::{Arch, Simd, WithSimd};

/// Depth of one pass over the inner dimension: 384 x 32 columns x 4 bytes fill a 48 KB first-level cache.
const INNER_BLOCK: usize = 384;
/// Rows of `A` that are packed at a time: 120 x 384 x 4 bytes stay in a second-level cache. A multiple of every tile.
const ROW_BLOCK: usize = 120;
/// Bytes of a cache line; panels start on one.
const LINE_BYTES: usize = 64;

/// The instruction set in use and the width of the panels that suit it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kernel {
    arch: Arch,
    panel: usize,
}

impl Kernel {
    /// Detects the widest instruction set of this processor.
    pub(crate) fn detect() -> Self {
        let arch = Arch::new();
        Self { arch, panel: arch.dispatch(PanelWidth) }
    }

    /// The dispatcher, for the element-wise kernels.
    pub(crate) fn arch(self) -> Arch {
        self.arch
    }

    /// Columns of one panel: column counts are padded to a multiple of it.
    pub(crate) fn panel(self) -> usize {
        self.panel
    }

    /// `columns` rounded up to whole panels.
    pub(crate) fn padded(self, columns: usize) -> usize {
        columns.next_multiple_of(self.panel)
    }
}

struct PanelWidth;

impl WithSimd for PanelWidth {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> usize {
        match S::F32_LANES {
            16 => 32,
            8 | 4 => 16,
            _ => 4,
        }
    }
}

/// A right-hand matrix in panel order: panel, then inner index, then column within the panel.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    inner: usize,
    columns: usize,
    panel: usize,
    start: usize,
    data: Vec<f32>,
}

impl Packed {
    /// Makes room for inner x columns, zeroed, keeping the allocation of an earlier use.
    fn reset(&mut self, kernel: Kernel, inner: usize, columns: usize) {
        let length = inner * kernel.padded(columns);
        self.data.clear();
        self.data.resize(length + LINE_BYTES / size_of::<f32>(), 0.0);
        self.start = self.data.as_ptr().align_offset(LINE_BYTES).min(LINE_BYTES / size_of::<f32>());
        self.inner = inner;
        self.columns = columns;
        self.panel = kernel.panel();
    }

    /// Packs the transpose of `columns` rows: row `j` of `source` (of `inner` values, every `stride`) is column `j`.
    pub(crate) fn fill_from_rows(
        &mut self,
        kernel: Kernel,
        source: &[f32],
        stride: usize,
        inner: usize,
        columns: usize,
    ) {
        self.reset(kernel, inner, columns);
        let (panel, start) = (self.panel, self.start);
        let data = &mut self.data[start..];
        for column in 0..columns {
            let row = &source[column * stride..column * stride + inner];
            let first = (column / panel) * panel * inner + column % panel;
            for (target, &value) in data[first..].iter_mut().step_by(panel).zip(row) {
                *target = value;
            }
        }
    }

    /// Packs a matrix that is inner x columns already, with a row every `stride` values.
    pub(crate) fn fill_from_columns(
        &mut self,
        kernel: Kernel,
        source: &[f32],
        stride: usize,
        inner: usize,
        columns: usize,
    ) {
        self.reset(kernel, inner, columns);
        let (panel, start) = (self.panel, self.start);
        let data = &mut self.data[start..];
        for k in 0..inner {
            let row = &source[k * stride..k * stride + columns];
            for (p, part) in row.chunks(panel).enumerate() {
                let first = (p * inner + k) * panel;
                data[first..first + part.len()].copy_from_slice(part);
            }
        }
    }

    fn panels(&self) -> usize {
        self.columns.div_ceil(self.panel)
    }

    /// Rows `from..from + depth` of panel `index`.
    fn slice(&self, index: usize, from: usize, depth: usize) -> &[f32] {
        let first = self.start + (index * self.inner + from) * self.panel;
        &self.data[first..first + depth * self.panel]
    }
}

/// A matrix within a larger buffer: first element and distance between rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    /// Index of the first element.
    pub(crate) first: usize,
    /// Elements from one row to the next.
    pub(crate) stride: usize,
}

/// Computes `c = a · b + bias` for `rows` rows.
///
/// Rows of `c` must have room for `b`'s columns rounded up to whole panels; the surplus columns receive zeros (plus
/// nothing: `bias`, when given, has exactly that padded length). `pack` is scratch space.
pub(crate) fn multiply(
    kernel: Kernel,
    rows: usize,
    (a, a_view): (&[f32], View),
    b: &Packed,
    bias: Option<&[f32]>,
    (c, c_view): (&mut [f32], View),
    pack: &mut Vec<f32>,
) {
    kernel.arch.dispatch(Product { rows, a, a_view, b, bias, c, c_view, pack });
}

struct Product<'a> {
    rows: usize,
    a: &'a [f32],
    a_view: View,
    b: &'a Packed,
    bias: Option<&'a [f32]>,
    c: &'a mut [f32],
    c_view: View,
    pack: &'a mut Vec<f32>,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Register tiles: as many accumulators as the register file holds beside one row of B and one value of A.
        match S::F32_LANES {
            16 => self.run::<S, 12, 2>(simd),
            8 => self.run::<S, 6, 2>(simd),
            4 => self.run::<S, 6, 4>(simd),
            _ => self.run::<S, 4, 4>(simd),
        }
    }
}

impl Product<'_> {
    #[inline(always)]
    fn run<S: Simd, const ROWS: usize, const VECTORS: usize>(self, simd: S) {
        let Self { rows, a, a_view, b, bias, c, c_view, pack } = self;
        let panel = S::F32_LANES * VECTORS;
        let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
        for depth_from in (0..b.inner).step_by(INNER_BLOCK) {
            let depth = INNER_BLOCK.min(b.inner - depth_from);
            for row_from in (0..rows).step_by(ROW_BLOCK) {
                let block = ROW_BLOCK.min(rows - row_from);
                pack_rows::<ROWS>(a, a_view, row_from, block, depth_from, depth, pack);
                for index in 0..b.panels() {
                    let b_panel = b.slice(index, depth_from, depth);
                    let column = index * panel;
                    for (tile, a_panel) in pack.chunks_exact(depth * ROWS).enumerate() {
                        tile_product::<S, ROWS, VECTORS>(simd, a_panel, b_panel, &mut sums);
                        let tile_from = row_from + tile * ROWS;
                        for (r, sums) in sums.iter().enumerate().take((rows - tile_from).min(ROWS)) {
                            let first = c_view.first + (tile_from + r) * c_view.stride + column;
                            let (out, _) = S::as_mut_simd_f32s(&mut c[first..first + panel]);
                            if depth_from > 0 {
                                for (out, &sum) in out.iter_mut().zip(sums) {
                                    *out = simd.add_f32s(*out, sum);
                                }
                            } else if let Some(bias) = bias {
                                let (bias, _) = S::as_simd_f32s(&bias[column..column + panel]);
                                for ((out, &sum), &bias) in out.iter_mut().zip(sums).zip(bias) {
                                    *out = simd.add_f32s(bias, sum);
                                }
                            } else {
                                out.copy_from_slice(sums);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Copies a block of `A` so that the values of one inner index for `ROWS` rows lie side by side; missing rows are zero.
#[inline(always)]
fn pack_rows<const ROWS: usize>(
    a: &[f32],
    view: View,
    row_from: usize,
    rows: usize,
    depth_from: usize,
    depth: usize,
    pack: &mut Vec<f32>,
) {
    pack.clear();
    pack.resize(rows.div_ceil(ROWS) * ROWS * depth, 0.0);
    for (tile, target) in pack.chunks_exact_mut(depth * ROWS).enumerate() {
        let (target, _) = target.as_chunks_mut::<ROWS>();
        for r in 0..ROWS.min(rows - tile * ROWS) {
            let first = view.first + (row_from + tile * ROWS + r) * view.stride + depth_from;
            for (target, &value) in target.iter_mut().zip(&a[first..first + depth]) {
                target[r] = value;
            }
        }
    }
}

/// One register tile: ROWS rows of `A` by one panel of `B`.
///
/// The sums are local and reach `out` one by one: an array that is also indexed at run time would live in memory, with a
/// store after every multiplication.
#[inline(always)]
fn tile_product<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    a: &[f32],
    b: &[f32],
    out: &mut [[S::f32s; VECTORS]; ROWS],
) {
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
    let (a, _) = a.as_chunks::<ROWS>();
    let (b, _) = S::as_simd_f32s(b);
    let (b, _) = b.as_chunks::<VECTORS>();
    for (a, b) in a.iter().zip(b) {
        for r in 0..ROWS {
            let value = simd.splat_f32s(a[r]);
            for v in 0..VECTORS {
                sums[r][v] = simd.mul_add_e_f32s(value, b[v], sums[r][v]);
            }
        }
    }
    for r in 0..ROWS {
        for v in 0..VECTORS {
            out[r][v] = sums[r][v];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed | 1;
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                f32::from(u8::try_from(state >> 24).unwrap()) / 128.0 - 1.0
            })
            .collect()
    }

    /// The kernel in use here and the plain one; on x86 also the one for processors without AVX-512.
    fn kernels() -> Vec<Kernel> {
        let mut archs = vec![Arch::new(), Arch::Scalar];
        #[cfg(target_arch = "x86_64")]
        archs.extend(pulp::x86::V3::try_new().map(Arch::V3));
        archs.into_iter().map(|arch| Kernel { arch, panel: arch.dispatch(PanelWidth) }).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn equals_the_schoolbook_product(
            rows in 1usize..140,
            inner in 1usize..800,
            columns in 1usize..70,
            seed: u32,
            kernel in proptest::sample::select(kernels()),
        ) {
            let padded = kernel.padded(columns);
            let a = values(rows * inner, seed);
            let w = values(columns * inner, seed.rotate_left(7));
            let mut bias = values(columns, seed.rotate_left(13));
            bias.resize(padded, 0.0);
            let mut by_rows = Packed::default();
            by_rows.fill_from_rows(kernel, &w, inner, inner, columns);
            let transposed: Vec<f32> =
                (0..inner).flat_map(|k| (0..columns).map(move |n| (n, k))).map(|(n, k)| w[n * inner + k]).collect();
            let mut by_columns = Packed::default();
            by_columns.fill_from_columns(kernel, &transposed, columns, inner, columns);
            let whole = View { first: 0, stride: inner };
            let out = View { first: 0, stride: padded };
            for packed in [&by_rows, &by_columns] {
                let mut c = vec![f32::NAN; rows * padded];
                multiply(kernel, rows, (&a, whole), packed, Some(&bias), (&mut c, out), &mut Vec::new());
                for m in 0..rows {
                    for n in 0..columns {
                        let want: f64 = f64::from(bias[n])
                            + (0..inner).map(|k| f64::from(a[m * inner + k]) * f64::from(w[n * inner + k])).sum::<f64>();
                        prop_assert!((f64::from(c[m * padded + n]) - want).abs() < 1e-3, "{m} {n}");
                    }
                }
            }
        }
    }
}
