//! Launchers, which start the ranks of a job, as an ordinary user.

use std::process::Command;

use crate::{Cluster, Outcome, as_tester, fixture, program, run};

/// The way in which ranks find each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wireup {
    /// PMI-1 or PMI-2.
    Pmi,
    /// PMIx.
    Pmix,
    /// None.
    Nothing,
}

/// A launcher.
#[derive(Debug)]
pub struct Launcher {
    /// The launcher and its flags.
    pub words: Vec<String>,
    /// The way in which its ranks find each other.
    pub offers: Wireup,
    environment: Vec<(&'static str, String)>,
}

impl Launcher {
    fn new(words: &[&str], offers: Wireup) -> Self {
        Self {
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            offers,
            environment: Vec::new(),
        }
    }

    /// Returns the launchers that start `ranks` ranks on one machine.
    #[must_use]
    pub fn of_mpis(ranks: u32) -> Vec<Self> {
        let number = ranks.to_string();
        let host = |name: &str| fixture("mpi").join(name).display().to_string();
        let oversubscribe = ["-np", &number, "--oversubscribe"];
        let open =
            |program: &str| Self::new(&[&[program][..], &oversubscribe].concat(), Wireup::Pmix);
        let hydra = |program: &str| Self::new(&[program, "-n", &number], Wireup::Pmi);
        vec![
            open("mpirun.openmpi"),
            open(&host("openmpi/bin/mpirun")),
            hydra("mpiexec.hydra"),
            hydra(&host("mpich/bin/mpiexec.hydra")),
            hydra(&host("impi_rt/bin/mpiexec.hydra")),
        ]
    }

    /// Returns `srun` with each of its wire-ups.
    #[must_use]
    pub fn of_slurm(cluster: &Cluster, ranks: u32) -> Vec<Self> {
        let number = format!("-n{ranks}");
        let each = [
            ("pmi2", Wireup::Pmi),
            ("pmix", Wireup::Pmix),
            ("none", Wireup::Nothing),
        ];
        let srun = |(kind, offers): (&str, Wireup)| {
            let words = ["srun", "-N1", &number, "--overcommit", "--mpi", kind];
            let mut launcher = Self::new(&words, offers);
            let conf = cluster.conf().display().to_string();
            launcher.environment.push(("SLURM_CONF", conf));
            // The nodes have no names that a network would know.
            launcher
                .environment
                .push(("OMPI_MCA_btl_tcp_if_include", "lo".to_owned()));
            launcher
        };
        each.map(srun).into()
    }

    /// Returns a command that starts a program in each rank.
    ///
    /// # Panics
    ///
    /// Panics when the launcher has no words.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let (first, rest) = self.words.split_first().expect("it has words");
        let mut command = as_tester(first);
        command.args(rest).args(words);
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        command
    }

    /// Runs `front` with arguments in each rank.
    #[must_use]
    pub fn front(&self, args: &[&str]) -> Outcome {
        let front = program("front").display().to_string();
        run(&mut self.command(&[&[front.as_str()], args].concat()))
    }
}
