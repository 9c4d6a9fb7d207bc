//! Patterns of names. In a pattern, `#` at the end of a part stands for a number, and `*` as the last part for one or more
//! parts. In the name that it becomes, `{n}` is the number that the n-th `#` stands for, `{n+1}` that number and 1, and `*`
//! what the other `*` stands for.

/// What a pattern stood for in a name.
#[derive(Debug, Default, PartialEq, Eq)]
struct Match<'a> {
    numbers: Vec<usize>,
    rest: Option<&'a str>,
}

/// The name that `to` gives for a name of the pattern `from`; `None` if it is none.
pub(super) fn renamed(name: &str, from: &str, to: &str) -> Option<String> {
    let Match { numbers, rest } = matched(name, from)?;
    let mut out = to.to_owned();
    for (index, number) in numbers.iter().enumerate() {
        out = out.replace(&format!("{{{index}}}"), &number.to_string());
        out = out.replace(&format!("{{{index}+1}}"), &(number + 1).to_string());
    }
    Some(match rest {
        Some(rest) => out.replace('*', rest),
        None => out,
    })
}

fn matched<'a>(name: &'a str, pattern: &str) -> Option<Match<'a>> {
    let mut found = Match::default();
    let mut left = name;
    for part in pattern.split('.') {
        if part == "*" {
            found.rest = Some(left).filter(|rest| !rest.is_empty());
            return found.rest.is_some().then_some(found);
        }
        let (first, rest) = left.split_once('.').unwrap_or((left, ""));
        match part.strip_suffix('#') {
            Some(before) => found.numbers.push(number(first.strip_prefix(before)?)?),
            None if part == first => {}
            None => return None,
        }
        left = rest;
    }
    left.is_empty().then_some(found)
}

/// A number as libraries write it: digits without a sign or leading zeros.
fn number(text: &str) -> Option<usize> {
    let number: usize = text.parse().ok()?;
    (number < usize::MAX && number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::renamed;

    #[test]
    fn numbers_and_the_rest_are_carried_over() {
        let rename = |name: &str| renamed(name, "stages.#.layer_#.norm.*", "layer{0+1}.{1}.bn{1+1}.*");
        assert_eq!(rename("stages.2.layer_10.norm.weight").as_deref(), Some("layer3.10.bn11.weight"));
        assert_eq!(rename("stages.2.layer_10.norm.a.b").as_deref(), Some("layer3.10.bn11.a.b"));
        for other in
            ["stages.2.layer_1.norm", "stages.2.layer_.norm.w", "stages.02.layer_1.norm.w", "stages.2"]
        {
            assert_eq!(rename(other), None, "{other}");
        }
    }

    #[test]
    fn a_pattern_without_a_rest_stands_for_one_name() {
        assert_eq!(renamed("class_token", "class_token", "cls_token").as_deref(), Some("cls_token"));
        assert_eq!(renamed("class_token.a", "class_token", "cls_token"), None);
        assert_eq!(renamed("class", "class.token", "cls_token"), None);
    }
}
