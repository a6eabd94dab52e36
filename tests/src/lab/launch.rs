//! How a program of ours is started: by its file of settings, or as a container of a pod template.

/// Arguments, the verb first, and environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Arguments, the verb first.
    pub arguments: Vec<String>,
    /// Variables beyond those that the test has.
    pub environment: Vec<(String, String)>,
}

impl Launch {
    /// `run --config FILE`.
    pub fn with_config(file: &str) -> Self {
        Self {
            arguments: ["run", "--config", file].map(str::to_owned).to_vec(),
            environment: Vec::new(),
        }
    }

    /// The same settings for another verb, such as `uninstall`.
    pub fn of_verb(&self, verb: &str) -> Vec<String> {
        let settings = self.arguments.iter().skip(1).cloned();
        std::iter::once(verb.to_owned()).chain(settings).collect()
    }

    /// The environment with one variable more, as programs are started with it.
    pub(super) fn variables<'a>(&'a self, more: (&'a str, &'a str)) -> Vec<(&'a str, &'a str)> {
        let own = self.environment.iter();
        own.map(|(name, value)| (name.as_str(), value.as_str()))
            .chain([more])
            .collect()
    }
}
