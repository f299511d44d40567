//! How long to wait after failures.

use std::time::Duration;

/// The wait after so many failures before this one: `first`, doubled with each, `most` at the longest.
pub(crate) fn doubled(first: Duration, most: Duration, failures: u32) -> Duration {
    first.saturating_mul(2u32.saturating_pow(failures)).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_its_bound_and_stays_there() {
        let wait = |failures| doubled(Duration::from_secs(10), Duration::from_secs(300), failures).as_secs();
        assert_eq!(
            [0, 1, 2, 4, 5, 40, u32::MAX].map(wait),
            [10, 20, 40, 160, 300, 300, 300]
        );
    }
}
