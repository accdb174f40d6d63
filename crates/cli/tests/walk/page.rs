//! What a page of documentation has to be run.

/// Its blocks, in their order.
pub(crate) struct Page {
    pub(crate) steps: Vec<Step>,
    /// Those with a file's name beside their language.
    pub(crate) files: Vec<(String, String)>,
}

/// A block of shell, and what it prints: the text that follows it, nothing where there is none.
pub(crate) struct Step {
    pub(crate) script: String,
    pub(crate) expected: String,
}

impl Page {
    pub(crate) fn of(markdown: &str) -> Self {
        let mut page = Self {
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
                Some((_, file)) => page.files.push((file.to_owned(), block)),
                None => page.add(info, block),
            }
        }
        page
    }

    fn add(&mut self, language: &str, block: String) {
        match language {
            "sh" => self.steps.push(Step {
                script: block,
                expected: String::new(),
            }),
            "text" => {
                let step = self.steps.last_mut().expect("a step before its output");
                assert_eq!(step.expected, "", "one output for a step");
                step.expected = block;
            }
            // Read elsewhere, or by nobody.
            _ => {}
        }
    }
}

#[test]
fn blocks_are_told_apart() {
    let page = Page::of(
        "# A\n```sh\necho a\n```\ntext\n```text\na\n```\n```js b.mjs\nb\n```\n```toml\nc = 1\n```\n```sh\n:\n```\n",
    );
    let steps: Vec<_> = page
        .steps
        .iter()
        .map(|step| (step.script.as_str(), step.expected.as_str()))
        .collect();
    assert_eq!(steps, [("echo a\n", "a\n"), (":\n", "")]);
    assert_eq!(page.files, [("b.mjs".to_owned(), "b\n".to_owned())]);
}
