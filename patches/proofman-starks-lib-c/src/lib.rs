//! Empty on purpose.
//!
//! `proofman-fields` names the crate of this name as a dependency on x86-64, and with its feature `verify` on (as
//! `proofman-verifier` has it) uses nothing of it. The published crate's build script would compile ZisK's prover in C++
//! and link MPI for that. Should a future version call into it, the build ends here with the name it misses.
