//! Empty: the package is its test, `main.rs`.
