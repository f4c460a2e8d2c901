//! The figures that the README gives are those of the page of measurements.

use std::fs;

use super::top;

/// Returns the numbers of a text, such as 0.85 or 960.
fn numbers(text: &str) -> Vec<f64> {
    text.split(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .filter_map(|number| number.trim_matches('.').parse().ok())
        .collect()
}

#[test]
fn each_figure_of_the_readme_is_in_the_row_that_it_names() {
    let readme = fs::read_to_string(top().join("README.md")).unwrap();
    let page = fs::read_to_string(top().join("docs/design/performance.md")).unwrap();
    let claims: Vec<&str> = readme
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains("performance.md#"))
        .collect();
    assert_eq!(claims.len(), 4, "{claims:?}");
    for claim in claims {
        let (said, source) = claim.split_once(" ([").unwrap();
        let said = said.rsplit('|').next().unwrap();
        let section = source.split(['#', ')']).nth(1).unwrap();
        let row = source.split('*').nth(1).unwrap();
        let heading = page
            .lines()
            .position(|line| {
                line.strip_prefix("## ")
                    .is_some_and(|title| title.to_lowercase().replace(' ', "-") == section)
            })
            .unwrap_or_else(|| panic!("{claim}: no such section"));
        let rows = page.lines().skip(heading + 1);
        let mut measured = rows
            .take_while(|line| !line.starts_with("## "))
            .filter(|line| line.starts_with(&format!("| {row} |")))
            .map(numbers);
        let is_measured = measured.any(|measured| {
            let mut said = numbers(said).into_iter();
            said.all(|number| measured.contains(&number))
        });
        assert!(is_measured, "{claim}");
    }
}
