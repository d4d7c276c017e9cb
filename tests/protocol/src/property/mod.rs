// SPDX-License-Identifier: GPL-2.0

//! Properties that hold for every sequence of events.

mod credit;
mod deferred;
mod header;
mod hostile;
mod messages;
mod two_endpoints;

use proptest::test_runner::Config;

/// Settings of a property that is tried `cases` times. The variable `PROPTEST_CASES` overrides
/// the number; a case that fails is printed at its smallest, to become a unit test.
fn config(cases: u32) -> Config {
    let default = Config::default();
    Config {
        cases: if std::env::var_os("PROPTEST_CASES").is_some() {
            default.cases
        } else {
            cases
        },
        max_shrink_iters: 200_000,
        failure_persistence: None,
        ..default
    }
}
