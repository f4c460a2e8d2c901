//! Whose MPI library a program gets, where the host's could replace the image's.

use launcher::Job;

use super::{Implementation, alone};

/// Which library is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The host's, if that is worth it.
    Auto,
    /// The host's.
    Host,
    /// The image's.
    Container,
}

/// The facts that decide.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The image's library, if it has one.
    pub own: Option<&'a Implementation>,
    /// The host's, which can replace it.
    pub hosts: &'a Implementation,
    /// Whether the host's library reaches a fast network and the image's does not.
    pub reaches_more: bool,
    /// The job that the program is a rank of.
    pub job: Option<&'a Job>,
}

impl Policy {
    /// Returns whether the program gets the host's library.
    #[must_use]
    pub fn takes_hosts(self, facts: Facts<'_>) -> bool {
        let is_alone = |library| facts.job.is_some_and(|job| alone(library, job).is_some());
        match (self, facts.own) {
            (Self::Host, _) => true,
            (Self::Container, _) => false,
            (Self::Auto, None) => true,
            (Self::Auto, Some(own)) => {
                !is_alone(facts.hosts) && (facts.reaches_more || is_alone(own))
            }
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
        // Whether the image has one that finds the ranks, the host's does, it reaches more, and what is taken.
        let cases = [
            (Some(&pmi), &pmi, false, false),
            (Some(&pmi), &pmi, true, true),
            (Some(&pmix), &pmi, false, true),
            (Some(&pmi), &pmix, true, false),
            (Some(&pmix), &pmix, false, false),
            (None, &pmix, false, true),
        ];
        for (own, hosts, reaches_more, expected) in cases {
            let facts = Facts {
                own,
                hosts,
                reaches_more,
                job: Some(&job),
            };
            assert_eq!(Policy::Auto.takes_hosts(facts), expected, "{facts:?}");
            assert!(Policy::Host.takes_hosts(facts) && !Policy::Container.takes_hosts(facts));
            let alone = Facts { job: None, ..facts };
            let gains = reaches_more || own.is_none();
            assert_eq!(Policy::Auto.takes_hosts(alone), gains, "{alone:?}");
        }
    }
}
