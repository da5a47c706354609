//! Plans as text (`.sim`): one fact to a line, so that a line can be deleted and a difference shows one
//! fault. Read strictly: whatever is unknown, missing, doubled, left over or out of its range is an error
//! with its line and column.

use super::{Ending, Expectation, Fault, FaultKind, Plan, Topic, Verdict};

/// The version of the format, in a file's first line.
pub const VERSION: u64 = 2;

const WORDS: [&str; 9] = [
    "seed",
    "shards",
    "topic",
    "clients",
    "operations",
    "tasks",
    "at",
    "ending",
    "expect",
];
/// Values of faults and endings are drawn below this.
const VALUE_MAX: u64 = 1 << 32;

/// What is wrong with a scenario's text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextError {
    /// Line, from 1 on.
    pub line: usize,
    /// Column in characters, from 1 on.
    pub column: usize,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for TextError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "line {}, column {}: {}",
            self.line, self.column, self.what
        )
    }
}

/// One line's words, taken from left to right.
struct Line<'a> {
    number: usize,
    text: &'a str,
    /// Byte where the next word is looked for, and where the last one began.
    at: usize,
    last: usize,
}

impl<'a> Line<'a> {
    fn new(number: usize, text: &'a str) -> Line<'a> {
        Line {
            number,
            text,
            at: 0,
            last: 0,
        }
    }

    fn next(&mut self) -> Option<&'a str> {
        let rest = &self.text[self.at..];
        let begin = self.at
            + rest
                .find(|c: char| !c.is_whitespace())
                .unwrap_or(rest.len());
        let rest = &self.text[begin..];
        let end = begin + rest.find(char::is_whitespace).unwrap_or(rest.len());
        (self.last, self.at) = (begin, end);
        (end > begin).then(|| &self.text[begin..end])
    }

    /// An error at the word that was taken last, or where one is missing.
    fn error(&self, what: impl Into<String>) -> TextError {
        TextError {
            line: self.number,
            column: self.text[..self.last].chars().count() + 1,
            what: what.into(),
        }
    }

    fn word(&mut self, what: &str) -> Result<&'a str, TextError> {
        match self.next() {
            Some(word) => Ok(word),
            None => Err(self.error(format!("{what} is missing"))),
        }
    }

    fn number(&mut self, what: &str, low: u64, high: u64) -> Result<u64, TextError> {
        let word = self.word(what)?;
        self.parse(word, what, low, high)
    }

    fn parse(&self, word: &str, what: &str, low: u64, high: u64) -> Result<u64, TextError> {
        let number: Option<u64> = word.parse().ok();
        let number = number.filter(|_| word.bytes().all(|byte| byte.is_ascii_digit()));
        let number = number.ok_or_else(|| self.error(format!("{what}: '{word}' is no number")))?;
        if !(low..=high).contains(&number) {
            return Err(self.error(format!("{what} is from {low} to {high}")));
        }
        Ok(number)
    }

    /// A word out of some.
    fn one_of(&mut self, what: &str, known: &[&str]) -> Result<&'a str, TextError> {
        let word = self.word(what)?;
        if known.contains(&word) {
            return Ok(word);
        }
        let hint = match nearest(word, known) {
            Some(near) => format!(", did you mean '{near}'?"),
            None => format!(": one of {}", known.join(", ")),
        };
        Err(self.error(format!("'{word}' is no {what}{hint}")))
    }

    fn end(&mut self) -> Result<(), TextError> {
        match self.next() {
            Some(word) => Err(self.error(format!("'{word}' is left over"))),
            None => Ok(()),
        }
    }
}

/// The known word that takes the fewest edits: at most two, and half of its letters.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let far = |other: &str| {
        let (a, b): (Vec<char>, Vec<char>) = (word.chars().collect(), other.chars().collect());
        let mut row: Vec<usize> = (0..=b.len()).collect();
        for (i, x) in a.iter().enumerate() {
            let mut before = row[0];
            row[0] = i + 1;
            for (j, y) in b.iter().enumerate() {
                let kept = before + usize::from(x != y);
                before = row[j + 1];
                row[j + 1] = kept.min(row[j] + 1).min(before + 1);
            }
        }
        row[b.len()]
    };
    let best = known.iter().min_by_key(|other| far(other))?;
    (far(best) <= 2 && far(best) * 2 <= best.len()).then_some(*best)
}

/// A plan that is being read: what must be there once.
#[derive(Default)]
struct Read {
    seed: Option<u64>,
    shards: Option<u64>,
    clients: Option<u64>,
    operations: Option<u64>,
    tasks: Option<u64>,
    topics: Vec<Topic>,
    faults: Vec<Fault>,
    ending: Option<(Ending, u64)>,
    expect: Vec<Expectation>,
}

impl Read {
    fn line(&mut self, line: &mut Line<'_>) -> Result<(), TextError> {
        let word = line.one_of("word of a plan", &WORDS)?;
        let (slot, low, high) = match word {
            "seed" => (&mut self.seed, 0, u64::MAX),
            "shards" => (&mut self.shards, 1, 16),
            "clients" => (&mut self.clients, 2, 64),
            "operations" => (&mut self.operations, 1, 1_000_000),
            "tasks" => {
                let doubled = self.tasks.replace(1).is_some();
                return match doubled {
                    true => Err(line.error("tasks is there twice")),
                    false => line.end(),
                };
            }
            "topic" => return self.topic(line),
            "at" => return self.fault(line),
            "ending" => return self.ending(line),
            _ => return self.expectation(line),
        };
        if slot.is_some() {
            return Err(line.error(format!("{word} is there twice")));
        }
        *slot = Some(line.number(word, low, high)?);
        line.end()
    }

    fn topic(&mut self, line: &mut Line<'_>) -> Result<(), TextError> {
        let (mut partitions, mut configs) = (None, Vec::new());
        while let Some(word) = line.next() {
            let Some((name, value)) = word.split_once('=') else {
                return Err(line.error(format!("'{word}' is no name=value")));
            };
            let doubled = configs.iter().any(|(known, _)| known == name);
            if doubled || (name == "partitions" && partitions.is_some()) {
                return Err(line.error(format!("{name} is there twice")));
            }
            match name {
                "partitions" => partitions = Some(line.parse(value, name, 1, 64)? as u32),
                _ => configs.push((name.to_string(), value.to_string())),
            }
        }
        let partitions = partitions.ok_or_else(|| line.error("partitions=N is missing"))?;
        self.topics.push(Topic {
            partitions,
            configs,
        });
        Ok(())
    }

    fn fault(&mut self, line: &mut Line<'_>) -> Result<(), TextError> {
        let word = line.word("a time")?;
        let Some(number) = word.strip_suffix("us") else {
            return Err(line.error(format!(
                "'{word}' is no time: microseconds, such as 400000us"
            )));
        };
        let at_us = line.parse(number, "a time", 0, u64::from(u32::MAX) * 1_000)?;
        let known: Vec<&str> = FaultKind::ALL.iter().map(|kind| kind.name()).collect();
        let name = line.one_of("fault", &known)?;
        let kind = FaultKind::from_name(name).ok_or_else(|| line.error("an unknown fault"))?;
        let value = line.number("a value", 0, VALUE_MAX - 1)?;
        self.faults.push(Fault { at_us, kind, value });
        line.end()
    }

    fn ending(&mut self, line: &mut Line<'_>) -> Result<(), TextError> {
        if self.ending.is_some() {
            return Err(line.error("ending is there twice"));
        }
        let known: Vec<&str> = Ending::ALL.iter().map(|kind| kind.name()).collect();
        let name = line.one_of("ending", &known)?;
        let kind = Ending::from_name(name).ok_or_else(|| line.error("an unknown ending"))?;
        self.ending = Some((kind, line.number("a value", 0, VALUE_MAX - 1)?));
        line.end()
    }

    fn expectation(&mut self, line: &mut Line<'_>) -> Result<(), TextError> {
        let expected = match line.one_of("expectation", &["verdict", "mark"])? {
            "mark" => {
                let name = line.word("a mark")?.to_string();
                line.one_of("comparison", &[">="])?;
                let at_least = line.number("a count", 1, u64::MAX)?;
                Expectation::Mark { name, at_least }
            }
            _ => Expectation::Verdict(
                match line.one_of("verdict", &["holds", "undecided", "fails"])? {
                    "holds" => Verdict::Holds,
                    "undecided" => Verdict::Undecided,
                    _ => Verdict::Fails(line.word("a rule")?.to_string()),
                },
            ),
        };
        self.expect.push(expected);
        line.end()
    }

    fn plan(self, last: &Line<'_>) -> Result<Plan, TextError> {
        let there = |slot: Option<u64>, name: &str| {
            slot.ok_or_else(|| last.error(format!("{name} is missing")))
        };
        let plan = Plan {
            seed: there(self.seed, "seed")?,
            shards: there(self.shards, "shards")? as u16,
            clients: there(self.clients, "clients")? as usize,
            operations: there(self.operations, "operations")?,
            tasks: self.tasks.is_some(),
            topics: self.topics,
            faults: self.faults,
            ending: self.ending,
            expect: self.expect,
        };
        match (plan.topics.len(), plan.loose_topic()) {
            (0, _) => Err(last.error("topic is missing")),
            (1, Some(_)) => Err(last.error("a topic that syncs is missing")),
            _ => Ok(plan),
        }
    }
}

impl Plan {
    /// The plan as lines, in their canonical order and form.
    pub fn to_text(&self) -> String {
        let mut lines = vec![
            format!("sim {VERSION}"),
            format!("seed {}", self.seed),
            format!("shards {}", self.shards),
        ];
        for topic in &self.topics {
            let configs = topic.configs.iter();
            let configs: String = configs.map(|(k, v)| format!(" {k}={v}")).collect();
            lines.push(format!("topic partitions={}{configs}", topic.partitions));
        }
        lines.push(format!("clients {}", self.clients));
        lines.push(format!("operations {}", self.operations));
        lines.extend(self.tasks.then(|| "tasks".to_string()));
        let mut faults: Vec<&Fault> = self.faults.iter().collect();
        faults.sort_by_key(|fault| (fault.at_us, fault.kind));
        for fault in faults {
            let (at_us, name, value) = (fault.at_us, fault.kind.name(), fault.value);
            lines.push(format!("at {at_us}us {name} {value}"));
        }
        if let Some((kind, value)) = self.ending {
            lines.push(format!("ending {} {value}", kind.name()));
        }
        lines.extend(self.expect.iter().map(Expectation::to_string));
        lines.push(String::new());
        lines.join("\n")
    }

    /// Read a plan. Lines that begin with `#` may stand before the first line, and say why it is kept.
    pub fn from_text(text: &str) -> Result<Plan, TextError> {
        let mut lines = text
            .lines()
            .enumerate()
            .map(|(n, text)| Line::new(n + 1, text));
        let mut first = lines.by_ref().skip_while(|line| line.text.starts_with('#'));
        let Some(mut line) = first.next() else {
            return Err(Line::new(1, "").error("'sim' is missing"));
        };
        line.one_of("first word", &["sim"])?;
        let version = line.number("the version", 0, u64::MAX)?;
        if version != VERSION {
            return Err(line.error(format!("this build knows version {VERSION}")));
        }
        line.end()?;
        let mut read = Read::default();
        for mut next in lines {
            if next.text.trim().is_empty() || next.text.starts_with('#') {
                return Err(
                    next.error("comments stand before the first line, and no line is empty")
                );
            }
            read.line(&mut next)?;
            line = next;
        }
        line.next();
        read.plan(&line)
    }

    /// The text in canonical form, with the comments before it.
    pub fn format(text: &str) -> Result<String, TextError> {
        let plan = Plan::from_text(text)?;
        let comments = text.lines().take_while(|line| line.starts_with('#'));
        let comments: String = comments
            .map(|line| format!("{}\n", line.trim_end()))
            .collect();
        Ok(comments + &plan.to_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_comes_back_from_its_lines() {
        for seed in 0..200 {
            let mut plan = Plan::of(seed);
            plan.expect = vec![
                Expectation::Verdict(Verdict::Holds),
                Expectation::Verdict(Verdict::Fails("H1".into())),
                Expectation::Mark {
                    name: "crash".into(),
                    at_least: seed + 1,
                },
            ];
            assert_eq!(Plan::from_text(&plan.to_text()), Ok(plan));
        }
    }

    #[test]
    fn comments_stay_and_the_rest_is_put_in_order() {
        let text =
            "# why \nsim  2\noperations 9\nseed 7\nclients 4\nat 9us crash 1\nat 5us pause 2\n\
                    topic   partitions=3 a=b\nshards 2\n";
        let canonical =
            "# why\nsim 2\nseed 7\nshards 2\ntopic partitions=3 a=b\nclients 4\noperations 9\n\
                         at 5us pause 2\nat 9us crash 1\n";
        assert_eq!(Plan::format(text), Ok(canonical.to_string()));
        assert_eq!(Plan::format(canonical), Ok(canonical.to_string()));
    }

    #[test]
    fn every_fault_of_a_text_is_named_with_its_place() {
        let good = "sim 2\nseed 7\nshards 2\ntopic partitions=3\nclients 4\noperations 9\n";
        assert!(Plan::from_text(good).is_ok());
        let more = |line: &str| format!("{good}{line}\n");
        let cases = [
            (String::new(), (1, 1), "'sim' is missing"),
            ("sim 1\n".into(), (1, 5), "this build knows version 2"),
            ("sam 2\n".into(), (1, 1), "did you mean 'sim'?"),
            ("sim 2 x\n".into(), (1, 7), "'x' is left over"),
            (more("at 5us crahs 3"), (7, 8), "did you mean 'crash'?"),
            (more("at 5us flood 3"), (7, 8), "one of crash, power-loss"),
            (more("at 5 crash 3"), (7, 4), "'5' is no time"),
            (more("at 5us crash"), (7, 13), "a value is missing"),
            (more("at 5us crash 3 4"), (7, 16), "'4' is left over"),
            (more("at 5us crash +3"), (7, 14), "'+3' is no number"),
            (
                more("at 5us crash 4294967296"),
                (7, 14),
                "from 0 to 4294967295",
            ),
            (more("seed 8"), (7, 1), "seed is there twice"),
            (more("tasks tasks"), (7, 7), "'tasks' is left over"),
            (more("task"), (7, 1), "did you mean 'tasks'?"),
            (more("topic partitions=0"), (7, 7), "from 1 to 64"),
            (more("topic x"), (7, 7), "'x' is no name=value"),
            (
                more("topic a=1 a=2 partitions=1"),
                (7, 11),
                "a is there twice",
            ),
            (more("topic a=1"), (7, 10), "partitions=N is missing"),
            (
                more("ending journal-rott 3"),
                (7, 8),
                "did you mean 'journal-rot'?",
            ),
            (more("expect mark crash > 3"), (7, 19), "did you mean '>='?"),
            (
                more("expect verdict fine"),
                (7, 16),
                "one of holds, undecided, fails",
            ),
            (more("# late"), (7, 1), "comments stand before"),
            (more(""), (7, 1), "no line is empty"),
            (
                good.replace("clients 4\n", ""),
                (5, 13),
                "clients is missing",
            ),
            (
                good.replace("clients 4", "clients 1"),
                (5, 9),
                "from 2 to 64",
            ),
            (
                good.replace("topic partitions=3\n", ""),
                (5, 13),
                "topic is missing",
            ),
            (
                good.replace("partitions=3", "partitions=3 flush.messages=2"),
                (6, 13),
                "a topic that syncs is missing",
            ),
        ];
        for (text, place, what) in cases {
            let error = Plan::from_text(&text).expect_err(what);
            assert_eq!((error.line, error.column), place, "{text:?}: {error}");
            assert!(error.what.contains(what), "{error}");
        }
    }
}
