//! Names in the form `xdstp://authority/type/id?parameters` (xRFC TP1).

use std::borrow::Cow;

const SCHEME: &str = "xdstp://";

/// The name with its context parameters in order: names that differ in that
/// only are one. Other names are taken as they are.
pub(crate) fn normalized(name: &str) -> Cow<'_, str> {
    let Some((path, parameters)) = name.split_once('?').filter(|_| name.starts_with(SCHEME)) else {
        return Cow::Borrowed(name);
    };
    let mut parameters: Vec<&str> = parameters.split('&').collect();
    if parameters.is_sorted() {
        return Cow::Borrowed(name);
    }
    parameters.sort_unstable();
    Cow::Owned(format!("{path}?{}", parameters.join("&")))
}

/// Whether the name stands for a collection.
pub(crate) fn is_collection(name: &str) -> bool {
    name.starts_with(SCHEME) && name.split('?').next().is_some_and(|path| path.ends_with("/*"))
}

/// The collection that a name belongs to: for `xdstp://authority/type/a/b` it
/// is `xdstp://authority/type/a/*`, with the same parameters.
pub(crate) fn collection(name: &str) -> Option<String> {
    if !name.starts_with(SCHEME) || is_collection(name) {
        return None;
    }
    let path_end = name.find('?').unwrap_or(name.len());
    let (path, parameters) = name.split_at(path_end);
    let (parent, _) = path.rsplit_once('/')?;
    Some(format!("{parent}/*{parameters}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_one_order() {
        assert_eq!(normalized("xdstp://a/t/n?b=2&a=1"), "xdstp://a/t/n?a=1&b=2");
        assert_eq!(normalized("plain?b=2&a=1"), "plain?b=2&a=1");
    }

    #[test]
    fn a_collection_keeps_the_parameters() {
        assert_eq!(collection("xdstp://a/t/x/n?p=1").as_deref(), Some("xdstp://a/t/x/*?p=1"));
        assert_eq!(collection("xdstp://a/t/x/*?p=1"), None);
        assert_eq!(collection("t/x/n"), None);
    }
}
