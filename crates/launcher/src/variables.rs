//! The variables by which a launcher and its ranks talk.

/// Beginnings of the names of variables that belong to a job, not to the user's surroundings: those of
/// schedulers and launchers, and those that steer MPI libraries and fabrics.
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
    // The wire-up.
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

/// Whole names: which devices the job has.
const NAMES: &[&str] = &[
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
    "ZE_AFFINITY_MASK",
];

/// What names a place on the host, where the image may have its own.
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

/// Whether a variable must reach a rank in whichever container: without it the rank is alone, or has
/// another's devices.
#[must_use]
pub fn is_kept(name: &str) -> bool {
    let begins = BEGINNINGS
        .iter()
        .any(|beginning| name.starts_with(beginning));
    (begins || NAMES.contains(&name)) && !OF_THE_HOST.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_kept_and_surroundings_are_not() {
        for name in [
            "SLURM_PROCID",
            "PMIX_RANK",
            "PMI_FD",
            "OMPI_COMM_WORLD_RANK",
            "MPI_LOCALRANKID",
            "OMP_NUM_THREADS",
        ] {
            assert!(is_kept(name), "{name}");
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
            assert!(!is_kept(name), "{name}");
        }
    }
}
