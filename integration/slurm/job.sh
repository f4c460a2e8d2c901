#!/bin/bash
# sbatch job.sh IMAGE COMMAND...: two ranks on a node, in one container on each.
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=2
#SBATCH --output=front-%j.out
image=$1
shift
# Says before the hours are spent what will not work, and ends the job then.
srun --mpi="${MPI:-pmi2}" front doctor "$image" "$@" >&2 || [ $? = 2 ] || exit
srun --mpi="${MPI:-pmi2}" front exec "$image" "$@"
