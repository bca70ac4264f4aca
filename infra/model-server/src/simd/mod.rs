//! Arithmetic kernels, written once over the vector width that the processor has (AVX-512, AVX2, NEON or scalar).
//!
//! All of them are safe Rust: `pulp` picks the widest instruction set at run time.
#![expect(
    clippy::inline_always,
    reason = "a kernel that is not inlined into the dispatcher loses its instruction set"
)]

pub(crate) mod elementwise;
pub(crate) mod gemm;
