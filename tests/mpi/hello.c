/* Each rank says which it is, of how many, and by which library; the sum shows that they have met. */
#include <mpi.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
  int rank, size, sum = 0, length;
  char library[MPI_MAX_LIBRARY_VERSION_STRING], line[256];
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  MPI_Get_library_version(library, &length);
  library[strcspn(library, "\n\t")] = 0;
  MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  snprintf(line, sizeof line, "rank %d of %d, sum %d: %.60s\n", rank, size, sum, library);
  fputs(line, stdout);
  MPI_Finalize();
  return 0;
}
