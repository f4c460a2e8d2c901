//! Decides between the image's MPI library and the host's, where the host's could replace it.

use launcher::Job;

use super::{Implementation, wireup_mismatch};

/// The user's choice of library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The host's, if it is worth it.
    Auto,
    /// The host's.
    Host,
    /// The image's.
    Container,
}

/// The facts for the decision.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The image's library, if it has one.
    pub own: Option<&'a Implementation>,
    /// The host's library, which can replace it.
    pub hosts: &'a Implementation,
    /// Whether the host's library is worth it for a fast network, by [`crate::fabric::is_worth`].
    pub is_worth: bool,
    /// The job in which the program is a rank.
    pub job: Option<&'a Job>,
}

impl Policy {
    /// Returns whether the program gets the host's library.
    #[must_use]
    pub fn takes_hosts(self, facts: Facts<'_>) -> bool {
        let is_alone = |library| {
            facts
                .job
                .is_some_and(|job| wireup_mismatch(library, job).is_some())
        };
        match (self, facts.own) {
            (Self::Host, _) => true,
            (Self::Container, _) => false,
            (Self::Auto, None) => true,
            (Self::Auto, Some(own)) => !is_alone(facts.hosts) && (facts.is_worth || is_alone(own)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use launcher::Wireup;

    use super::super::Family;
    use super::*;

    fn library(speaks: Wireup) -> Implementation {
        Implementation {
            family: Family::Mpich,
            path: PathBuf::from("/usr/lib/libmpi.so.12"),
            speaks: vec![speaks],
            release: None,
        }
    }

    fn job() -> Job {
        let variables = [("PMI_RANK", "0"), ("PMI_SIZE", "2"), ("PMI_FD", "7")];
        let get = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Job::find(&get, &|| "1-1".to_owned()).unwrap()
    }

    #[test]
    fn the_hosts_is_taken_where_it_gains_something() {
        let (pmi, pmix, job) = (library(Wireup::Pmi), library(Wireup::Pmix), job());
        // The image's library, the host's, whether the host's is worth it, and whether it is
        // taken.
        let cases = [
            (Some(&pmi), &pmi, false, false),
            (Some(&pmi), &pmi, true, true),
            (Some(&pmix), &pmi, false, true),
            (Some(&pmi), &pmix, true, false),
            (Some(&pmix), &pmix, false, false),
            (None, &pmix, false, true),
        ];
        for (own, hosts, is_worth, expected) in cases {
            let facts = Facts {
                own,
                hosts,
                is_worth,
                job: Some(&job),
            };
            assert_eq!(Policy::Auto.takes_hosts(facts), expected, "{facts:?}");
            assert!(Policy::Host.takes_hosts(facts) && !Policy::Container.takes_hosts(facts));
            let alone = Facts { job: None, ..facts };
            let gains = is_worth || own.is_none();
            assert_eq!(Policy::Auto.takes_hosts(alone), gains, "{alone:?}");
        }
    }
}
