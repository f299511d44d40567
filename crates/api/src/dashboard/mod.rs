//! What an operator sees in a browser: one page without anything from outside, over `/assay/v1/dashboard` and the event
//! stream.
//!
//! | file | what it holds |
//! |---|---|
//! | `page` | the page's files and their headers |
//! | `slots` | the last slots against proof types |
//! | `problems` | what an operator should look at, worst first |
//! | `provers` | validators that signed accepted proofs |

pub(crate) mod page;
pub(crate) mod problems;
pub(crate) mod provers;
pub(crate) mod slots;
