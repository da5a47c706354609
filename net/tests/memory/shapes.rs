//! Where every request has arrays, and the smallest elements that may stand in them.

use seedlog_net::apis::Api;

/// A request's bytes around one of its arrays, and the smallest element of that. `nested` elements have
/// one element in an array of their own.
pub struct Shape {
    pub what: &'static str,
    pub before: Vec<u8>,
    pub element: Vec<u8>,
    /// Elements of arrays in one element, itself counted.
    pub items: usize,
    pub after: Vec<u8>,
}

/// How a version writes.
#[derive(Clone, Copy)]
pub struct Form {
    version: i16,
    flexible: bool,
}

impl Form {
    pub fn of(api: &Api, version: i16) -> Form {
        let flexible = version >= api.flexible;
        Form { version, flexible }
    }

    pub fn count(self, count: usize) -> Vec<u8> {
        if !self.flexible {
            return (count as i32).to_be_bytes().to_vec();
        }
        let (mut rest, mut out) = (count + 1, Vec::new());
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
        out
    }

    /// An empty string.
    fn text(self) -> Vec<u8> {
        vec![u8::from(self.flexible); if self.flexible { 1 } else { 2 }]
    }

    /// Null where a string may be.
    fn null(self) -> Vec<u8> {
        match self.flexible {
            true => vec![0],
            false => vec![0xff; 2],
        }
    }

    /// Null where records or an array may be.
    fn no_bytes(self) -> Vec<u8> {
        match self.flexible {
            true => vec![0],
            false => vec![0xff; 4],
        }
    }

    fn tags(self) -> Vec<u8> {
        vec![0; usize::from(self.flexible)]
    }

    /// Zeroes, so many from a version on.
    fn since(self, version: i16, bytes: usize) -> Vec<u8> {
        vec![0; if self.version >= version { bytes } else { 0 }]
    }

    /// A topic by name, or by id from a version on.
    fn topic(self, by_id: i16) -> Vec<u8> {
        match self.version >= by_id {
            true => vec![7; 16],
            false => self.text(),
        }
    }
}

fn shape(what: &'static str, before: &[&[u8]], element: &[&[u8]], after: &[&[u8]]) -> Shape {
    Shape {
        what,
        before: before.concat(),
        element: element.concat(),
        items: 1,
        after: after.concat(),
    }
}

/// A list of topics, each with a list of partitions: empty, one of many, and many of one.
fn topics(form: Form, head: &[u8], name: &[u8], part: &[u8], foot: &[u8]) -> Vec<Shape> {
    let (none, one, tags) = (form.count(0), form.count(1), form.tags());
    let part = [part, &tags].concat();
    vec![
        shape("topics", &[head], &[name, &none, &tags], &[foot]),
        shape("partitions", &[head, &one, name], &[&part], &[&tags, foot]),
        Shape {
            items: 2,
            ..shape(
                "topics of a partition",
                &[head],
                &[name, &one, &part, &tags],
                &[foot],
            )
        },
    ]
}

/// The arrays of a request of this API. One that is added to the table needs them here.
pub fn shapes(api: &Api, version: i16) -> Vec<Shape> {
    let form = Form::of(api, version);
    let (text, tags) = (form.text(), form.tags());
    match api.key {
        0 => {
            let head = [&form.null()[..], &[0; 6]].concat();
            let part = [&[0; 4], &form.no_bytes()[..]].concat();
            topics(form, &head, &form.topic(13), &part, &tags)
        }
        1 => fetch(form),
        2 => {
            let head = [&[0; 4], &form.since(2, 1)[..]].concat();
            let part = [&[0; 12], &form.since(4, 4)[..]].concat();
            let foot = [&form.since(10, 4)[..], &tags].concat();
            topics(form, &head, &text, &part, &foot)
        }
        3 => {
            let name = match version {
                10.. => [&[7; 16], &form.null()[..]].concat(),
                _ => text,
            };
            let foot = [form.since(4, 1), form.since(8, 2), tags.clone()].concat();
            vec![shape("topics", &[], &[&name, &tags], &[&foot])]
        }
        10 if version >= 4 => vec![shape("keys", &[&[0]], &[&text], &[&tags])],
        10 | 17 | 18 | 22 | 36 => Vec::new(),
        19 => create_topics(form),
        20 => {
            let name = match version {
                6.. => [&form.null()[..], &[7; 16], &tags].concat(),
                _ => text,
            };
            vec![shape("topics", &[], &[&name], &[&[0; 4], &tags])]
        }
        21 => {
            let foot = [&[0; 4], &tags[..]].concat();
            topics(form, &[], &text, &[0; 12], &foot)
        }
        23 => topics(form, &form.since(3, 4), &text, &[0; 12], &tags),
        37 => create_partitions(form),
        key => panic!("{} ({key}) has no shapes here", api.name),
    }
}

fn fetch(form: Form) -> Vec<Shape> {
    let (none, one, tags) = (form.count(0), form.count(1), form.tags());
    let replica = if form.version <= 14 { 4 } else { 0 };
    let head = [&vec![0; replica][..], &[0; 13], &form.since(7, 8)].concat();
    let name = form.topic(13);
    let mut part = vec![0; 16];
    for (version, bytes) in [(9, 4), (12, 4), (5, 8)] {
        part.extend(form.since(version, bytes));
    }
    let rack = match form.version {
        11.. => form.text(),
        _ => Vec::new(),
    };
    let forgotten = match form.version {
        7.. => none.clone(),
        _ => Vec::new(),
    };
    let foot = [&forgotten[..], &rack, &tags].concat();
    let mut shapes = topics(form, &head, &name, &part, &foot);
    if form.version >= 7 {
        let foot = [&rack[..], &tags].concat();
        let head = [&head[..], &none].concat();
        shapes.push(shape(
            "forgotten topics",
            &[&head],
            &[&name, &none, &tags],
            &[&foot],
        ));
        shapes.push(shape(
            "forgotten partitions",
            &[&head, &one, &name],
            &[&[0; 4]],
            &[&tags, &foot],
        ));
    }
    shapes
}

fn create_topics(form: Form) -> Vec<Shape> {
    let (none, one, tags) = (form.count(0), form.count(1), form.tags());
    let text = form.text();
    let start = [&text[..], &[0; 6]].concat();
    let foot = [&[0; 5], &tags[..]].concat();
    let row = [&[0; 4], &none[..], &tags].concat();
    let config = [&text[..], &form.null(), &tags].concat();
    let topic = |rows: &[u8], configs: &[u8]| [&start[..], rows, configs, &tags].concat();
    let with_row = topic(&[&one[..], &row].concat(), &none);
    let with_config = topic(&none, &[&one[..], &config].concat());
    let of_two = |what, element: &[u8]| Shape {
        items: 2,
        ..shape(what, &[], &[element], &[&foot])
    };
    vec![
        shape("topics", &[], &[&topic(&none, &none)], &[&foot]),
        of_two("topics of an assignment", &with_row),
        of_two("topics of a config", &with_config),
        shape(
            "assignments",
            &[&one, &start],
            &[&row],
            &[&none, &tags, &foot],
        ),
        shape(
            "brokers",
            &[&one, &start, &one, &[0; 4]],
            &[&[0; 4]],
            &[&tags, &none, &tags, &foot],
        ),
        shape(
            "configs",
            &[&one, &start, &none],
            &[&config],
            &[&tags, &foot],
        ),
    ]
}

fn create_partitions(form: Form) -> Vec<Shape> {
    let (none, one, tags) = (form.count(0), form.count(1), form.tags());
    let start = [&form.text()[..], &[0; 4]].concat();
    let foot = [&[0; 5], &tags[..]].concat();
    let row = [&none[..], &tags].concat();
    let of_a_row = [&start[..], &one, &row, &tags].concat();
    vec![
        shape("topics", &[], &[&start, &form.no_bytes(), &tags], &[&foot]),
        Shape {
            items: 2,
            ..shape("topics of an assignment", &[], &[&of_a_row], &[&foot])
        },
        shape("assignments", &[&one, &start], &[&row], &[&tags, &foot]),
        shape(
            "brokers",
            &[&one, &start, &one],
            &[&[0; 4]],
            &[&tags, &tags, &foot],
        ),
    ]
}
