//! Scenario files: read, put into canonical form, checked.

use std::path::Path;

use crate::plan::Plan;

/// The plan of a seed, or of a file.
pub fn plan_of(what: &str) -> Result<Plan, String> {
    match what.parse() {
        Ok(seed) => Ok(Plan::of(seed)),
        Err(_) => read(Path::new(what)).map(|(plan, _)| plan),
    }
}

fn read(file: &Path) -> Result<(Plan, String), String> {
    let place = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{place}: {error}"))?;
    let plan = Plan::from_text(&text).map_err(|error| format!("{place}: {error}"))?;
    Ok((plan, text))
}

/// Bring a file into canonical form. True if that changed it.
pub fn format(file: &Path) -> Result<bool, String> {
    let (_, text) = read(file)?;
    let canonical = Plan::format(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    if canonical == text {
        return Ok(false);
    }
    std::fs::write(file, canonical).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(true)
}

/// A file must be a plan, in canonical form, and say what is expected of its run.
pub fn check(file: &Path) -> Result<(), String> {
    let (plan, text) = read(file)?;
    let place = file.display();
    if Plan::format(&text).ok().as_ref() != Some(&text) {
        return Err(format!(
            "{place}: not in canonical form: seedlog-sim fmt {place}"
        ));
    }
    match plan.expect.is_empty() {
        true => Err(format!("{place}: it expects nothing")),
        false => Ok(()),
    }
}
