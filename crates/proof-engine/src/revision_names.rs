//! The names of proof types by revision: provers of `beta` number the same names otherwise than those of `alpha`
//! (protocol.md section 9), so a proof is judged by the name that its own revision has for its type.

use crate::{NamesError, ProofTypeNames};
use assay_types::{ProofType, Revision};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// A map of names for each revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionNames {
    alpha: ProofTypeNames,
    beta: ProofTypeNames,
    /// The revision that holds for every payload, where one does.
    sole: Option<Revision>,
}

/// Those of protocol.md section 9.
impl Default for RevisionNames {
    fn default() -> Self {
        Self {
            alpha: ProofTypeNames::of(Revision::Alpha),
            beta: ProofTypeNames::of(Revision::Beta),
            sole: None,
        }
    }
}

/// The same names in both.
impl From<ProofTypeNames> for RevisionNames {
    fn from(names: ProofTypeNames) -> Self {
        Self {
            alpha: names.clone(),
            beta: names,
            sole: None,
        }
    }
}

impl RevisionNames {
    /// No names.
    pub fn none() -> Self {
        ProofTypeNames::none().into()
    }

    /// These, where `sole` alone holds (`None`: where both may).
    pub fn where_holds(self, sole: Option<Revision>) -> Self {
        Self { sole, ..self }
    }

    /// The map of a revision.
    pub fn of(&self, revision: Revision) -> &ProofTypeNames {
        match revision {
            Revision::Alpha => &self.alpha,
            Revision::Beta => &self.beta,
        }
    }

    /// The name of a type where a revision holds.
    pub fn name(&self, revision: Revision, proof_type: ProofType) -> Option<&str> {
        self.of(revision).name(proof_type)
    }

    /// The revisions that hold, or may.
    pub fn revisions(&self) -> impl Iterator<Item = Revision> + use<> {
        let sole = self.sole;
        let all = Revision::ALL.iter().copied();
        all.filter(move |revision| sole.is_none_or(|sole| sole == *revision))
    }

    /// The names of a type where they may be asked for, each with its revision.
    pub fn in_use(&self, proof_type: ProofType) -> impl Iterator<Item = (Revision, &str)> {
        self.revisions()
            .filter_map(move |revision| Some((revision, self.name(revision, proof_type)?)))
    }

    /// Names that are the same in both.
    pub fn of_both(&self) -> impl Iterator<Item = (ProofType, &str)> {
        let in_beta = |(number, name): &(ProofType, &str)| self.beta.name(*number) == Some(*name);
        self.alpha.iter().filter(in_beta)
    }

    /// These names, with `other`'s over them: see `ProofTypeNames::overlaid_with`.
    pub fn overlaid_with(self, other: &Self) -> Self {
        Self {
            alpha: self.alpha.overlaid_with(&other.alpha),
            beta: self.beta.overlaid_with(&other.beta),
            sole: self.sole,
        }
    }

    /// A type's names in both revisions, whichever hold.
    pub(crate) fn of_type(&self, proof_type: ProofType) -> TypeNames {
        let named = |revision: &Revision| Some((*revision, self.name(*revision, proof_type)?.to_owned()));
        TypeNames::Each(Revision::ALL.iter().filter_map(named).collect())
    }

    /// For people: the name where it is one, else each with its revision.
    pub(crate) fn label(&self, proof_type: ProofType) -> Option<String> {
        let names: Vec<_> = self.in_use(proof_type).collect();
        match names[..] {
            [] => None,
            [(_, first), ref rest @ ..]
                if rest.len() + 1 == self.revisions().count() && rest.iter().all(|(_, n)| *n == first) =>
            {
                Some(first.to_owned())
            }
            _ => {
                let each: Vec<String> = names.iter().map(|(r, name)| format!("{name} in {r}")).collect();
                Some(each.join(", "))
            }
        }
    }
}

/// `5=reth-sp1,beta:1=mine`: with a revision before it a name holds there alone, and goes before one that holds in both.
impl FromStr for RevisionNames {
    type Err = NamesError;

    fn from_str(text: &str) -> Result<Self, NamesError> {
        let of = |revision: Option<Revision>| {
            let parts = text.split(',').filter_map(|part| match part.split_once(':') {
                None => revision.is_none().then_some(Ok(part)),
                Some((word, rest)) => match word.trim().parse::<Revision>() {
                    Ok(said) => (revision == Some(said)).then_some(Ok(rest)),
                    Err(_) => Some(Err(NamesError::Form(part.to_owned()))),
                },
            });
            let parts = parts.collect::<Result<Vec<_>, _>>()?;
            match parts.is_empty() {
                true => Ok(ProofTypeNames::none()),
                false => parts.join(",").parse::<ProofTypeNames>(),
            }
        };
        let both = of(None)?;
        Ok(Self {
            alpha: both.clone().overlaid_with(&of(Some(Revision::Alpha))?),
            beta: both.overlaid_with(&of(Some(Revision::Beta))?),
            sole: None,
        })
    }
}

/// The names of one type, as they are kept: a name alone (so before there were two), or one for each revision that has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TypeNames {
    Any(String),
    Each(BTreeMap<Revision, String>),
}

impl TypeNames {
    /// From what was kept: a name has no colon.
    pub(crate) fn read(text: &str) -> Self {
        let each = text.split(',').map(|part| {
            let (revision, name) = part.split_once(':')?;
            Some((revision.parse().ok()?, name.to_owned()))
        });
        match each.collect::<Option<BTreeMap<_, _>>>() {
            Some(each) => Self::Each(each),
            None => Self::Any(text.to_owned()),
        }
    }

    /// As it is kept; `None` without a name.
    pub(crate) fn to_text(&self) -> Option<String> {
        match self {
            Self::Any(name) => Some(name.clone()),
            Self::Each(each) if each.is_empty() => None,
            Self::Each(each) => {
                let parts: Vec<String> = each.iter().map(|(r, name)| format!("{r}:{name}")).collect();
                Some(parts.join(","))
            }
        }
    }

    /// Whether they may be names of the same program: of a name alone it is not known which revision's it was.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any(one), Self::Any(other)) => one == other,
            (Self::Any(name), Self::Each(each)) | (Self::Each(each), Self::Any(name)) => {
                each.values().any(|known| known == name)
            }
            (Self::Each(one), Self::Each(other)) => one
                .iter()
                .all(|(revision, name)| other.get(revision).is_none_or(|known| known == name)),
        }
    }

    /// These, with what only `before` says.
    pub(crate) fn with(self, before: Self) -> Self {
        match (self, before) {
            (Self::Each(now), Self::Each(mut before)) => {
                before.extend(now);
                Self::Each(before)
            }
            (now, _) => now,
        }
    }
}

impl fmt::Display for TypeNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use Revision::{Alpha, Beta};

    #[test]
    fn a_type_has_the_name_of_each_revision() {
        let names = RevisionNames::default();
        assert_eq!(names.name(Alpha, 1), Some("ethrex-sp1"));
        assert_eq!(names.name(Beta, 1), Some("ethrex-openvm"));
        assert_eq!((names.name(Beta, 0), names.name(Alpha, 7)), (None, None));
        for (sole, one, five, zero) in [
            (
                Some(Alpha),
                Some("ethrex-sp1"),
                Some("reth-sp1"),
                Some("ethrex-risc0"),
            ),
            (Some(Beta), Some("ethrex-openvm"), Some("reth-sp1"), None),
            (
                None,
                Some("ethrex-sp1 in alpha, ethrex-openvm in beta"),
                Some("reth-sp1"),
                Some("ethrex-risc0 in alpha"),
            ),
        ] {
            let names = names.clone().where_holds(sole);
            assert_eq!(names.label(1).as_deref(), one);
            assert_eq!(names.label(5).as_deref(), five);
            assert_eq!(names.label(0).as_deref(), zero);
        }
    }

    #[test]
    fn a_given_name_holds_in_both_unless_it_says_where() {
        let given = |text: &str| RevisionNames::default().overlaid_with(&text.parse().unwrap());
        let (both, beta, each) = (
            given("1=mine"),
            given("beta:1=mine, 2=other"),
            given("1=a,beta:1=b"),
        );
        assert_eq!(
            (both.name(Alpha, 1), both.name(Beta, 1)),
            (Some("mine"), Some("mine"))
        );
        assert_eq!(
            (beta.name(Alpha, 1), beta.name(Beta, 1)),
            (Some("ethrex-sp1"), Some("mine"))
        );
        assert_eq!(
            (beta.name(Alpha, 2), beta.name(Beta, 2)),
            (Some("other"), Some("other"))
        );
        assert_eq!((each.name(Alpha, 1), each.name(Beta, 1)), (Some("a"), Some("b")));
        for text in [
            "",
            "5",
            "gamma:5=a",
            "beta:5",
            "beta:1=a,beta:1=b",
            "1=a,2=a",
            "alpha:beta:1=a",
        ] {
            text.parse::<RevisionNames>().unwrap_err();
        }
    }

    #[test]
    fn names_that_were_kept_are_compared_by_revision() {
        for (was, is, agree) in [
            ("alpha:a,beta:b", "alpha:a,beta:b", true),
            ("alpha:a,beta:b", "alpha:a,beta:c", false),
            ("alpha:a", "beta:b", true),
            // Kept before names had a revision: it was one of them.
            ("a", "alpha:a,beta:b", true),
            ("b", "alpha:a,beta:b", true),
            ("c", "alpha:a,beta:b", false),
            ("a", "a", true),
            ("a", "b", false),
        ] {
            let (was, is) = (TypeNames::read(was), TypeNames::read(is));
            assert_eq!(was.agrees_with(&is), agree, "{was} {is}");
            assert_eq!(is.agrees_with(&was), agree, "{was} {is}");
            assert_eq!(TypeNames::read(&was.to_string()), was);
        }
        let kept = TypeNames::read("alpha:a").with(TypeNames::read("alpha:z,beta:b"));
        assert_eq!(kept.to_string(), "alpha:a,beta:b");
    }
}
