//! A `libnvidia-ml.so.1` without a driver, for tests: it answers what `scenario.json` beside it says, which
//! may change while a program uses it, and notes each call in a file beside it. Each copy of the file is a
//! library of its own, so that tests in one process do not meet.
//!
//! It does what `nvml-wrapper` and NVIDIA's own Python bindings need to read energy, power, processes and
//! instances, as the documentation of NVML says it: a handle that is no longer good, a buffer that is too
//! small and a function that a device does not have are answered as the real library does.

// NVML names its codes like variables.
#[allow(non_upper_case_globals)]
mod answers;
pub mod board;
mod machine;
pub mod scenario;
