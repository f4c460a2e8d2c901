//! The variables that a rank needs in any container: those by which a launcher and its ranks communicate.

/// Prefixes of variables that belong to a job, not to the user's environment: those of schedulers
/// and launchers, and those that configure MPI libraries and fabrics.
const BEGINNINGS: &[&str] = &[
    // Schedulers and launchers.
    "SLURM_",
    "SLURMD_",
    "PBS_",
    "LSB_",
    "LS_",
    "LSF_",
    "JSM_",
    "FLUX_",
    "PALS_",
    "ALPS_",
    "HYDRA_",
    "HYDI_",
    // Wire-up.
    "PMI_",
    "PMI2_",
    "PMIX_",
    "PRTE_",
    // MPI libraries.
    "OMPI_",
    "MPICH_",
    "MPIR_",
    "MPI_LOCAL",
    "I_MPI_",
    "MV2_",
    "MVP_",
    // Fabrics.
    "UCX_",
    "UCC_",
    "FI_",
    "SLINGSHOT_",
    "PSM2_",
    "PSM3_",
    "HFI_",
    "NCCL_",
    "RCCL_",
    "NVSHMEM_",
    // Threads.
    "OMP_",
    "KMP_",
    "GOMP_",
];

/// Full names of variables that select the job's devices.
const NAMES: &[&str] = &[
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
    "ZE_AFFINITY_MASK",
];

/// Variables that name a path on the host. The image may have its own path for the same purpose.
const OF_THE_HOST: &[&str] = &[
    "FI_PROVIDER_PATH",
    "I_MPI_ROOT",
    "MPICH_ROOT",
    "UCX_MODULE_DIR",
    "PMIX_PREFIX",
    "PRTE_PREFIX",
    "OMPI_LIBDIR_LOC",
    "OMPI_MCA_mca_base_component_path",
    "OMPI_MCA_component_path",
    "PMIX_MCA_mca_base_component_path",
    "PRTE_MCA_mca_base_component_path",
];

/// Whether a variable must reach a rank in any container. Without it the rank finds no other ranks,
/// or uses the devices of another rank.
#[must_use]
pub fn is_passed(name: &str) -> bool {
    let begins = BEGINNINGS
        .iter()
        .any(|beginning| name.starts_with(beginning));
    (begins || NAMES.contains(&name)) && !OF_THE_HOST.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jobs_variables_are_passed_and_others_are_not() {
        for name in [
            "SLURM_PROCID",
            "PMIX_RANK",
            "PMI_FD",
            "OMPI_COMM_WORLD_RANK",
            "MPI_LOCALRANKID",
            "OMP_NUM_THREADS",
        ] {
            assert!(is_passed(name), "{name}");
        }
        for name in [
            "PATH",
            "HOME",
            "I_MPI_ROOT",
            "MPI_HOME",
            "FI_PROVIDER_PATH",
            "LD_LIBRARY_PATH",
            "OMPI",
        ] {
            assert!(!is_passed(name), "{name}");
        }
    }
}
