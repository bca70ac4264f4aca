//! Tests of the public interface, in one binary.

#[cfg(test)]
mod chunks;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod pdf;
#[cfg(test)]
mod support;
