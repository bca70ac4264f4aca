//! The multilingual-e5-small network: BERT with layer normalization after each block, GELU, mean pooling, unit length.
//!
//! Sources: Devlin et al., "BERT" (2018); Wang et al., "Multilingual E5 Text Embeddings" (2024). Several sequences go
//! through the linear layers as one matrix, without padding; attention stays within each sequence.
#![expect(
    clippy::indexing_slicing,
    reason = "shapes are fixed by the weights file and checked when it is read; sequences are checked at entry"
)]

use crate::{
    q4,
    simd::{
        elementwise::{Norm, add_norm, gelu_in_place, normalize, softmax_rows},
        gemm::{Kernel, Packed, View, multiply},
    },
    weights::{Shape, WeightsError, WeightsFile},
};

/// Query rows of attention that are computed at a time: their scores stay in the second-level cache.
const ATTENTION_ROWS: usize = 96;

/// A linear layer, ready for multiplication.
#[derive(Debug)]
struct Linear {
    weights: Packed,
    bias: Vec<f32>,
    inputs: usize,
    outputs: usize,
}

impl Linear {
    /// Stacks the named layers, which share their input, into one product.
    fn read(
        file: &mut WeightsFile,
        kernel: Kernel,
        names: &[String],
        inputs: usize,
        outputs: usize,
    ) -> Result<Self, WeightsError> {
        let mut rows = Vec::with_capacity(names.len() * inputs * outputs);
        let mut bias = Vec::with_capacity(names.len() * outputs);
        for name in names {
            rows.extend(file.tensor(&format!("{name}.w"), inputs * outputs)?);
            bias.extend(file.tensor(&format!("{name}.b"), outputs)?);
        }
        let outputs = bias.len();
        bias.resize(kernel.padded(outputs), 0.0);
        let mut weights = Packed::default();
        weights.fill_from_rows(kernel, &rows, inputs, inputs, outputs);
        Ok(Self { weights, bias, inputs, outputs })
    }

    /// Applies the layer to every row of `x`.
    fn apply(&self, kernel: Kernel, x: &[f32], out: &mut Vec<f32>, pack: &mut Vec<f32>) {
        let rows = x.len() / self.inputs;
        out.resize(rows * self.outputs, 0.0);
        let from = View { first: 0, stride: self.inputs };
        let to = View { first: 0, stride: self.outputs };
        multiply(kernel, rows, (x, from), &self.weights, Some(&self.bias), (out, to), pack);
    }
}

#[derive(Debug)]
struct Layer {
    query_key_value: Linear,
    attention_output: Linear,
    attention_norm: Norm,
    expand: Linear,
    contract: Linear,
    output_norm: Norm,
}

/// Buffers of one worker thread, reused from call to call.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    x: Vec<f32>,
    query_key_value: Vec<f32>,
    context: Vec<f32>,
    middle: Vec<f32>,
    branch: Vec<f32>,
    scores: Vec<f32>,
    keys: Packed,
    values: Packed,
    pack: Vec<f32>,
}

/// The network with its weights.
pub(crate) struct Encoder {
    kernel: Kernel,
    shape: Shape,
    /// Word vectors as stored (`Q4_0`): expanding all would take 384 MB for rows that are mostly never read.
    words: Vec<u8>,
    /// Position plus token-type vectors, one row a position.
    positions: Vec<f32>,
    input_norm: Norm,
    layers: Vec<Layer>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("shape", &self.shape).finish_non_exhaustive()
    }
}

impl Encoder {
    /// Reads and expands all tensors of a file.
    pub(crate) fn read(file: &mut WeightsFile) -> Result<Self, WeightsError> {
        let kernel = Kernel::detect();
        let shape = file.shape;
        let Shape { hidden, feed_forward, .. } = shape;
        let words = file.quantized("emb.word", shape.vocabulary * hidden)?;
        let mut positions = file.tensor("emb.pos", shape.positions * hidden)?;
        let types = file.tensor("emb.type", 2 * hidden)?;
        for row in positions.chunks_exact_mut(hidden) {
            for (value, kind) in row.iter_mut().zip(&types) {
                *value += kind;
            }
        }
        let input_norm = read_norm(file, "emb.ln")?;
        let mut layers = Vec::with_capacity(shape.layers);
        for index in 0..shape.layers {
            let names =
                |parts: &[&str]| parts.iter().map(|part| format!("l{index}.{part}")).collect::<Vec<_>>();
            layers.push(Layer {
                query_key_value: Linear::read(file, kernel, &names(&["q", "k", "v"]), hidden, hidden)?,
                attention_output: Linear::read(file, kernel, &names(&["ao"]), hidden, hidden)?,
                attention_norm: read_norm(file, &format!("l{index}.aln"))?,
                expand: Linear::read(file, kernel, &names(&["fi"]), hidden, feed_forward)?,
                contract: Linear::read(file, kernel, &names(&["fo"]), feed_forward, hidden)?,
                output_norm: read_norm(file, &format!("l{index}.oln"))?,
            });
        }
        Ok(Self { kernel, shape, words, positions, input_norm, layers })
    }

    /// Values of one embedding.
    pub(crate) fn dimensions(&self) -> usize {
        self.shape.hidden
    }

    /// Positions of the longest sequence.
    pub(crate) fn positions(&self) -> usize {
        self.shape.positions
    }

    /// Embeds sequences of piece indexes; every result has unit length.
    ///
    /// A sequence longer than [`Self::positions`] is cut; an index outside the vocabulary counts as a zero vector.
    pub(crate) fn embed(&self, sequences: &[Vec<u32>], scratch: &mut Scratch) -> Vec<Vec<f32>> {
        let hidden = self.shape.hidden;
        let lengths: Vec<usize> =
            sequences.iter().map(|sequence| sequence.len().min(self.shape.positions)).collect();
        let rows = lengths.iter().sum::<usize>();
        scratch.x.clear();
        scratch.x.resize(rows * hidden, 0.0);
        let mut row = scratch.x.chunks_exact_mut(hidden);
        for sequence in sequences {
            for ((&piece, position), row) in
                sequence.iter().zip(self.positions.chunks_exact(hidden)).zip(row.by_ref())
            {
                self.word(piece, row);
                for (value, position) in row.iter_mut().zip(position) {
                    *value += position;
                }
            }
        }
        let arch = self.kernel.arch();
        add_norm(arch, &mut scratch.x, None, &self.input_norm);
        for layer in &self.layers {
            layer.query_key_value.apply(
                self.kernel,
                &scratch.x,
                &mut scratch.query_key_value,
                &mut scratch.pack,
            );
            scratch.context.clear();
            scratch.context.resize(rows * hidden, 0.0);
            let mut first = 0;
            for &length in &lengths {
                self.attend(first, length, scratch);
                first += length;
            }
            layer.attention_output.apply(
                self.kernel,
                &scratch.context,
                &mut scratch.branch,
                &mut scratch.pack,
            );
            add_norm(arch, &mut scratch.x, Some(&scratch.branch), &layer.attention_norm);
            layer.expand.apply(self.kernel, &scratch.x, &mut scratch.middle, &mut scratch.pack);
            gelu_in_place(arch, &mut scratch.middle);
            layer.contract.apply(self.kernel, &scratch.middle, &mut scratch.branch, &mut scratch.pack);
            add_norm(arch, &mut scratch.x, Some(&scratch.branch), &layer.output_norm);
        }
        let mut rest = scratch.x.as_slice();
        lengths
            .iter()
            .map(|&length| {
                let (own, after) = rest.split_at(length * hidden);
                rest = after;
                // The mean differs from the sum by a factor that the scaling to unit length removes.
                let mut pooled = vec![0.0; hidden];
                for row in own.chunks_exact(hidden) {
                    for (sum, value) in pooled.iter_mut().zip(row) {
                        *sum += value;
                    }
                }
                normalize(&mut pooled);
                pooled
            })
            .collect()
    }

    fn word(&self, piece: u32, out: &mut [f32]) {
        let bytes = self.shape.hidden / q4::BLOCK_WEIGHTS * q4::BLOCK_BYTES;
        let stored = usize::try_from(piece).ok().and_then(|piece| self.words.chunks_exact(bytes).nth(piece));
        if let Some(stored) = stored {
            q4::dequantize(stored, out);
        }
    }

    /// Scaled dot-product attention of the sequence at rows `first..first + length`, head by head.
    fn attend(&self, first: usize, length: usize, scratch: &mut Scratch) {
        let Shape { hidden, heads, .. } = self.shape;
        let kernel = self.kernel;
        let head_width = hidden / heads;
        let stride = 3 * hidden;
        let padded = kernel.padded(length);
        #[expect(clippy::cast_precision_loss, reason = "a head is 32 wide")]
        let scale = 1.0 / (head_width as f32).sqrt();
        let Scratch { query_key_value, context, scores, keys, values, pack, .. } = scratch;
        scores.resize(ATTENTION_ROWS * padded, 0.0);
        for head in 0..heads {
            let column = first * stride + head * head_width;
            keys.fill_from_rows(kernel, &query_key_value[column + hidden..], stride, head_width, length);
            values.fill_from_columns(
                kernel,
                &query_key_value[column + 2 * hidden..],
                stride,
                length,
                head_width,
            );
            for from in (0..length).step_by(ATTENTION_ROWS) {
                let rows = ATTENTION_ROWS.min(length - from);
                let queries = View { first: column + from * stride, stride };
                let block = View { first: 0, stride: padded };
                multiply(kernel, rows, (query_key_value, queries), keys, None, (scores, block), pack);
                softmax_rows(kernel.arch(), &mut scores[..rows * padded], padded, length, scale);
                let out = View { first: (first + from) * hidden + head * head_width, stride: hidden };
                multiply(kernel, rows, (scores, block), values, None, (context, out), pack);
            }
        }
    }
}

fn read_norm(file: &mut WeightsFile, name: &str) -> Result<Norm, WeightsError> {
    let width = file.shape.hidden;
    Ok(Norm {
        weight: file.tensor(&format!("{name}.w"), width)?,
        bias: file.tensor(&format!("{name}.b"), width)?,
        epsilon: file.shape.epsilon,
    })
}
