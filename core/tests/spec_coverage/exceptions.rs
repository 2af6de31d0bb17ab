//! Reads `spec/exceptions.toml`: tables `[[exception]]` of `label`, `lacks` (a list of "code" and
//! "test") and `reason`, and nothing else.

pub(crate) struct Exception {
    pub(crate) label: String,
    lacks: Vec<String>,
    pub(crate) reason: String,
}

impl Exception {
    /// Whether the citation of this kind may be missing.
    pub(crate) fn lacks(&self, what: &str) -> bool {
        self.lacks.iter().any(|it| it == what)
    }
}

pub(crate) fn parse(text: &str, faults: &mut Vec<String>) -> Vec<Exception> {
    let mut exceptions: Vec<Exception> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line == "[[exception]]" {
            let (label, reason) = (String::new(), String::new());
            exceptions.push(Exception { label, lacks: Vec::new(), reason });
            continue;
        }
        let Some((key, value)) = line.split_once(" = ") else {
            faults.push(format!("spec/exceptions.toml: cannot be read: {line}"));
            continue;
        };
        let strings: Vec<String> =
            value.split('"').skip(1).step_by(2).map(|text| text.to_owned()).collect();
        match (key, exceptions.last_mut(), strings.as_slice()) {
            ("label", Some(last), [label]) => last.label.clone_from(label),
            ("reason", Some(last), [reason]) => last.reason.clone_from(reason),
            ("lacks", Some(last), _) => last.lacks = strings,
            _ => faults.push(format!("spec/exceptions.toml: cannot be read: {line}")),
        }
    }
    for Exception { label, lacks, reason } in &exceptions {
        let known = lacks.iter().all(|what| ["code", "test"].contains(&what.as_str()));
        if label.is_empty() || reason.len() < 20 || lacks.is_empty() || !known {
            faults.push(format!("spec/exceptions.toml: {label:?} needs label, lacks and a reason"));
        }
    }
    exceptions
}
