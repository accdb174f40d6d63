//! The code blocks of a guide.

/// The blocks of a guide, in their order.
pub(crate) struct Guide {
    pub(crate) steps: Vec<GuideStep>,
    /// The blocks with a file name beside their language: name and text.
    pub(crate) files: Vec<(String, String)>,
}

/// A shell block, and the text block that follows: its expected output. Empty without a text block.
pub(crate) struct GuideStep {
    pub(crate) script: String,
    pub(crate) expected: String,
}

impl Guide {
    pub(crate) fn of(markdown: &str) -> Self {
        let mut guide = Self {
            steps: Vec::new(),
            files: Vec::new(),
        };
        let mut lines = markdown.lines();
        while let Some(line) = lines.next() {
            let Some(info) = line.strip_prefix("```") else {
                continue;
            };
            let mut block = String::new();
            for line in lines.by_ref().take_while(|line| *line != "```") {
                block = block + line + "\n";
            }
            match info.split_once(' ') {
                Some((_, file)) => guide.files.push((file.to_owned(), block)),
                None => guide.add(info, block),
            }
        }
        guide
    }

    fn add(&mut self, language: &str, block: String) {
        match language {
            "sh" => self.steps.push(GuideStep {
                script: block,
                expected: String::new(),
            }),
            "text" => {
                let step = self.steps.last_mut().expect("a step before its output");
                assert_eq!(step.expected, "", "one output for a step");
                step.expected = block;
            }
            // Blocks in other languages are not run.
            _ => {}
        }
    }
}

#[test]
fn blocks_are_classified() {
    let guide = Guide::of(
        "# A\n```sh\necho a\n```\ntext\n```text\na\n```\n```js b.mjs\nb\n```\n```toml\nc = 1\n```\n```sh\n:\n```\n",
    );
    let steps: Vec<_> = guide
        .steps
        .iter()
        .map(|step| (step.script.as_str(), step.expected.as_str()))
        .collect();
    assert_eq!(steps, [("echo a\n", "a\n"), (":\n", "")]);
    assert_eq!(guide.files, [("b.mjs".to_owned(), "b\n".to_owned())]);
}
