//! A user in front of a browser.

use std::error::Error;
use std::sync::Arc;

use reqwest::cookie::{CookieStore as _, Jar};
use reqwest::{Client, Url};

/// Opens the address and fills in every page (a name and a click) up to a page without a form. Returns the cookies of
/// the address. Errors: a page does not load, or there are too many pages.
pub(crate) async fn sign_in(address: &str) -> Result<String, Box<dyn Error>> {
    let jar = Arc::new(Jar::default());
    let browser = Client::builder()
        .no_proxy()
        .cookie_provider(Arc::clone(&jar))
        .build()?;
    let address = Url::parse(address)?;
    let mut request = browser.get(address.clone()).header("accept", "text/html");
    // A sign-in has fewer pages.
    for _ in 0..10 {
        let answer = request.send().await?;
        let at = answer.url().clone();
        let page = answer.text().await?;
        let Some(form) = page.split("<form").nth(1) else {
            let cookies = jar.cookies(&address).ok_or("the sign-in left no cookie")?;
            return Ok(cookies.to_str()?.to_owned());
        };
        let form = form.split("</form>").next().unwrap_or_default();
        let action = attribute(form, "action").ok_or("a form without an action")?;
        request = browser.post(at.join(&action)?).form(&filled_in(form));
    }
    Err("no end of pages".into())
}

/// Returns every field of a form, with `alice` in the empty ones.
fn filled_in(form: &str) -> Vec<(String, String)> {
    let inputs = form.split("<input").skip(1).filter_map(|input| {
        let input = input.split('>').next()?;
        let value = attribute(input, "value").unwrap_or_else(|| "alice".to_owned());
        Some((attribute(input, "name")?, value))
    });
    inputs.collect()
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!("{name}=\""))?;
    Some(rest.split('"').next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_filled_in() {
        let form = r#" action="/to"><input name="a" value="1"><input type="text" name="login">"#;
        assert_eq!(attribute(form, "action").as_deref(), Some("/to"));
        let filled = [("a", "1"), ("login", "alice")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(filled_in(form), filled);
    }
}
