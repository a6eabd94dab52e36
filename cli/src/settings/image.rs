//! Which images run: where they are, and a tag or digests. Of letters that end nothing.

use std::fmt;
use std::str::FromStr;

use crate::names::{CONTROLLER, NODE};

/// Where this project's own images are.
const USUAL: &str = "ghcr.io/sotto-dev";
/// Longest name, as registries have it.
const MAX_LENGTH: usize = 255;

/// The part of images' names that is common to all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Repository(String);

/// What is behind the colon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag(String);

/// An image's full name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image(String);

/// The images of an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Images {
    /// The daemon's.
    pub(crate) node: Image,
    /// The controller's.
    pub(crate) controller: Image,
}

fn is_text(text: &str, others: &[u8]) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || others.contains(&byte);
    !text.is_empty() && text.len() <= MAX_LENGTH && text.bytes().all(allowed)
}

impl FromStr for Repository {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim_end_matches('/');
        if is_text(text, b"./:_-") {
            Ok(Self(text.to_owned()))
        } else {
            Err("a registry and a path in it, such as registry.example/sotto, is needed".to_owned())
        }
    }
}

impl FromStr for Tag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if is_text(text, b"._-") {
            Ok(Self(text.to_owned()))
        } else {
            Err("a tag has letters, digits and ._-".to_owned())
        }
    }
}

impl FromStr for Image {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if is_text(text, b"./:@_-") {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is no image"))
        }
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Image {
    /// Where it is, if it has the name of a part of ours.
    fn repository(&self, name: &str) -> Option<Repository> {
        let (path, _) = self.0.split_once('@').unwrap_or((&self.0, ""));
        let path = match path.rsplit_once(':') {
            // Else it is a registry's port.
            Some((path, tag)) if !tag.contains('/') => path,
            Some(_) | None => path,
        };
        path.strip_suffix(name)?.strip_suffix('/')?.parse().ok()
    }
}

impl Images {
    /// Both images of a repository.
    pub(crate) fn of(repository: &Repository, tag: &Tag) -> Self {
        let named = |name: &str| Image(format!("{}/{name}:{}", repository.0, tag.0));
        Self {
            node: named(NODE),
            controller: named(CONTROLLER),
        }
    }

    /// What runs: as given, else as installed where somebody chose another repository or a digest, else
    /// those of this version. And whether what is installed stays.
    ///
    /// # Errors
    /// When the tag of this version is none.
    pub(crate) fn settle(
        repository: Option<&Repository>,
        tag: Option<&Tag>,
        installed: Option<&Self>,
    ) -> Result<(Self, bool), String> {
        let there = installed.and_then(|images| images.node.repository(NODE));
        let usual = Repository(USUAL.to_owned());
        let is_chosen = |images: &&Self| {
            let is_digest = |image: &Image| image.0.contains('@');
            is_digest(&images.node)
                || is_digest(&images.controller)
                || there.as_ref() != Some(&usual)
        };
        if repository.is_none()
            && tag.is_none()
            && let Some(chosen) = installed.filter(is_chosen)
        {
            return Ok((chosen.clone(), true));
        }
        let own: Tag = env!("CARGO_PKG_VERSION").parse()?;
        let repository = repository.or(there.as_ref()).unwrap_or(&usual);
        Ok((Self::of(repository, tag.unwrap_or(&own)), false))
    }
}

#[cfg(test)]
mod tests {
    use super::{Image, Images, Repository, Tag};

    fn images(node: &str, controller: &str) -> Images {
        Images {
            node: node.parse().unwrap(),
            controller: controller.parse().unwrap(),
        }
    }

    #[test]
    fn only_a_tag_of_the_usual_repository_is_replaced() {
        let usual = "ghcr.io/sotto-dev";
        let digest = format!("@sha256:{}", "a".repeat(64));
        for (repository, end, stays) in [
            (usual, ":v1", false),
            (usual, "", false),
            (usual, &digest, true),
            (usual, &format!(":v1{digest}"), true),
            ("ghcr.io/sotto-dev-mirror", ":1", true),
            ("localhost:5000", "", true),
        ] {
            let of = |part: &str| format!("{repository}/sotto-{part}{end}");
            let installed = images(&of("node"), &of("controller"));

            let (found, kept) = Images::settle(None, None, Some(&installed)).unwrap();

            assert_eq!(kept, stays, "{repository}{end}");
            assert_eq!(found == installed, stays, "{repository}{end}");
        }
    }

    #[test]
    fn a_tag_alone_stays_in_the_repository_that_was_chosen() {
        let installed = images(
            "localhost:5000/x/sotto-node:1",
            "localhost:5000/x/sotto-controller:1",
        );
        let tag: Tag = "2".parse().unwrap();

        let (found, _) = Images::settle(None, Some(&tag), Some(&installed)).unwrap();

        let wanted = images(
            "localhost:5000/x/sotto-node:2",
            "localhost:5000/x/sotto-controller:2",
        );
        assert_eq!(found, wanted);
    }

    #[test]
    fn an_image_cannot_end_its_quotation() {
        for text in ["", "a\"b", "a b", "a\nb", "a{b", "a$b"] {
            assert!(text.parse::<Image>().is_err(), "{text:?}");
            assert!(text.parse::<Tag>().is_err(), "{text:?}");
            assert!(text.parse::<Repository>().is_err(), "{text:?}");
        }
    }
}
