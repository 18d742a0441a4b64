//! Reads the closing lines of test runners.
//!
//! INVARIANT: output without a closing line yields nothing, never a count of zero.

/// How many tests passed and failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Tests that ran and held.
    pub passed: u64,
    /// Tests that did not hold, ran too long or could not be started.
    pub failed: u64,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Reads nextest's last summary: `Summary [ 0.1s] 5 tests run: 3 passed (1 slow), 2 failed, 1 skipped`.
pub fn nextest(output: &str) -> Option<Count> {
    let plain = without_colours(output);
    let line = plain.lines().rev().find(|line| {
        line.trim_start().starts_with("Summary [")
            && (line.contains("tests run:") || line.contains("test run:"))
    })?;
    let (_, counts) = line.split_once("run:")?;
    let mut count = Count::default();
    for part in without_remarks(counts).split(',') {
        let (number, what) = part.trim().split_once(' ')?;
        let number: u64 = number.parse().ok()?;
        match what.trim() {
            "passed" => count.passed += number,
            "skipped" => {}
            // failed, timed out, exec failed, and whatever else is not a pass.
            _ => count.failed += number,
        }
    }
    Some(count)
}

/// Adds up libtest's lines: `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
pub fn libtest(output: &str) -> Option<Count> {
    let plain = without_colours(output);
    let mut total: Option<Count> = None;
    for line in plain.lines() {
        let Some(counts) = line.trim().strip_prefix("test result: ") else { continue };
        let count =
            Count { passed: number_before(counts, "passed")?, failed: number_before(counts, "failed")? };
        *total.get_or_insert_default() += count;
    }
    total
}

/// The number in front of `word` in a text like `ok. 3 passed; 0 failed`.
fn number_before(text: &str, word: &str) -> Option<u64> {
    let words: Vec<&str> = text.split([' ', ';', '.']).filter(|word| !word.is_empty()).collect();
    let place = words.iter().position(|each| *each == word)?;
    words.get(place.checked_sub(1)?)?.parse().ok()
}

/// The text without what stands in brackets.
fn without_remarks(text: &str) -> String {
    let mut depth = 0u32;
    let mut plain = String::new();
    for letter in text.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            other if depth == 0 => plain.push(other),
            _ => {}
        }
    }
    plain
}

/// The text without terminal colours (`ESC [ … m`).
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter == '\x1b' {
            letters.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(letter);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(passed: u64, failed: u64) -> Option<Count> {
        Some(Count { passed, failed })
    }

    #[test]
    fn nextest_summaries() {
        let check = |text: &str, expected| assert_eq!(nextest(text), expected, "{text}");
        check("     Summary [   0.003s] 1 test run: 1 passed, 0 skipped\n", count(1, 0));
        check("Summary [   1.2s] 5 tests run: 3 passed (1 slow, 1 flaky), 2 failed, 7 skipped", count(3, 2));
        check(
            "Summary [ 9.0s] 6/10 tests run: 3 passed, 1 failed, 1 timed out, 1 exec failed, 0 skipped",
            count(3, 3),
        );
        check(
            "\x1b[32;1m Summary\x1b[0m [ 0.1s] \x1b[1m2\x1b[0m tests run: 2 passed, 0 skipped",
            count(2, 0),
        );
        check("Summary [ 0.1s] 0 tests run: 0 passed, 4 skipped\nerror: no tests to run", count(0, 0));
        check("error: could not compile `x`", None);
        check("a test printed: Summary of 3 tests run: 3 passed", None);
        check("Summary [ 1s] 3 tests run: many passed", None);
    }

    #[test]
    fn the_last_summary_counts() {
        let text = "Summary [ 0.1s] 1 test run: 1 passed, 0 skipped\nSummary [ 0.1s] 2 tests run: 2 passed, 0 skipped";
        assert_eq!(nextest(text), count(2, 0));
    }

    #[test]
    fn libtest_summaries_add_up() {
        let text = "\
test a ... ok

test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s

test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s
";
        assert_eq!(libtest(text), count(4, 2));
        assert_eq!(libtest("   Doc-tests postern\n"), None);
        assert_eq!(libtest("test result: ok. no numbers"), None);
    }
}
