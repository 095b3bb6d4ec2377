//! How much two words differ, to find the word that was meant.

/// Number of letters to insert, delete or replace to turn one into the other (Levenshtein distance).
pub(super) fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for a in from.chars() {
        let mut diagonal = 0;
        let mut left = usize::MAX;
        for (j, cost) in row.iter_mut().enumerate() {
            let change = match j.checked_sub(1).and_then(|j| to.chars().nth(j)) {
                Some(b) => diagonal + usize::from(a != b),
                None => usize::MAX,
            };
            diagonal = *cost;
            *cost = change.min(cost.saturating_add(1)).min(left.saturating_add(1));
            left = *cost;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_letters() {
        for (from, to, letters) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(from, to), letters, "{from} {to}");
        }
    }
}
