//! Licence expressions of packages: SPDX, and the old slash that means OR.

/// Returns true if licences that `allowed` accepts satisfy the expression. Errors: the text is no expression.
///
/// `WITH` binds an exception to the licence before it: `allowed` gets both as one text, such as `Apache-2.0 WITH
/// LLVM-exception`. AND binds tighter than OR (SPDX annex D).
pub(crate) fn satisfiable(
    expression: &str,
    allowed: &dyn Fn(&str) -> bool,
) -> Result<bool, String> {
    let tokens = tokens(expression);
    let mut parser = Parser {
        tokens: &tokens,
        allowed,
    };
    let result = parser
        .any()
        .map_err(|problem| format!("`{expression}`: {problem}"))?;
    match parser.tokens.first() {
        None => Ok(result),
        Some(word) => Err(format!("`{expression}`: `{word}` comes unexpected")),
    }
}

fn tokens(expression: &str) -> Vec<String> {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    spaced.split_whitespace().map(str::to_owned).collect()
}

struct Parser<'a> {
    tokens: &'a [String],
    allowed: &'a dyn Fn(&str) -> bool,
}

impl Parser<'_> {
    /// Parses `all OR all OR all ...`.
    fn any(&mut self) -> Result<bool, String> {
        let mut result = self.all()?;
        while self.take("OR") {
            result |= self.all()?;
        }
        Ok(result)
    }

    /// Parses `one AND one AND one ...`.
    fn all(&mut self) -> Result<bool, String> {
        let mut result = self.one()?;
        while self.take("AND") {
            result &= self.one()?;
        }
        Ok(result)
    }

    /// Parses a licence, a licence with an exception, or an expression in parentheses.
    fn one(&mut self) -> Result<bool, String> {
        if self.take("(") {
            let result = self.any()?;
            return if self.take(")") {
                Ok(result)
            } else {
                Err("a parenthesis is not closed".to_owned())
            };
        }
        let licence = self.identifier()?;
        if self.take("WITH") {
            let exception = self.identifier()?;
            return Ok((self.allowed)(&format!("{licence} WITH {exception}")));
        }
        Ok((self.allowed)(&licence))
    }

    fn identifier(&mut self) -> Result<String, String> {
        match self.tokens.split_first() {
            Some((word, rest)) if !["AND", "OR", "WITH", "(", ")"].contains(&word.as_str()) => {
                self.tokens = rest;
                Ok(word.clone())
            }
            Some((word, _)) => Err(format!("a licence is missing before `{word}`")),
            None => Err("it ends where a licence is missing".to_owned()),
        }
    }

    fn take(&mut self, expected: &str) -> bool {
        match self.tokens.split_first() {
            Some((word, rest)) if word == expected => {
                self.tokens = rest;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(expression: &str) -> Result<bool, String> {
        satisfiable(expression, &|licence| {
            ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].contains(&licence)
        })
    }

    #[test]
    fn expressions_are_evaluated() {
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("MIT OR GPL-3.0", true),
            ("GPL-3.0 OR MIT", true),
            ("MIT AND GPL-3.0", false),
            ("MIT AND ISC", true),
            ("GPL-3.0/MIT", true),
            ("GPL-3.0 / AGPL-3.0", false),
            ("(MIT OR GPL-3.0) AND ISC", true),
            ("(MIT OR GPL-3.0) AND AGPL-3.0", false),
            ("((ISC))", true),
            // AND binds tighter than OR.
            ("GPL-3.0 OR MIT AND ISC", true),
            ("MIT OR ISC AND GPL-3.0", true),
            ("GPL-3.0 AND MIT OR AGPL-3.0 AND ISC", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("Apache-2.0 WITH other-exception", false),
            ("Apache-2.0", false),
            ("Apache-2.0 WITH LLVM-exception OR GPL-3.0", true),
        ] {
            assert_eq!(verdict(expression), Ok(expected), "{expression}");
        }
    }

    #[test]
    fn what_is_no_expression_is_an_error() {
        for expression in [
            "",
            "MIT OR",
            "AND MIT",
            "(MIT",
            "MIT)",
            "MIT ISC",
            "()",
            "MIT WITH",
            "WITH MIT",
            "MIT OR OR ISC",
        ] {
            assert!(verdict(expression).is_err(), "{expression}");
        }
    }
}
