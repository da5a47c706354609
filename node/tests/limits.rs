//! The operator's table of bounds says what the broker does.

use seedlog_core::limits::Limits;

fn rows(table: &str) -> Vec<(String, u64)> {
    let rows = table.lines().filter_map(|line| {
        let mut cells = line.split('|').skip(1);
        let name = cells.next()?.trim().strip_prefix('`')?.strip_suffix('`')?;
        Some((name.to_string(), cells.next()?.trim().parse().ok()?))
    });
    rows.collect()
}

#[test]
fn the_table_of_limits_is_the_limits() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/limits.md");
    let table = std::fs::read_to_string(path).expect("docs/limits.md");
    let limits = Limits::default().list();
    let limits: Vec<_> = limits.map(|(name, value)| (name.to_string(), value)).into();
    assert_eq!(rows(&table), limits);
    assert_ne!(rows(&table.replace("57671680", "57671681")), limits);
}
