/* Two ranks send each other messages of each size; the first prints, a line a size: bytes, microseconds one way
   (the median of many round trips, halved), and megabytes a second. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv) {
  enum { LARGEST = 4 << 20, MOST = 2000 };
  static double times[MOST];
  int rank, size;
  char *buffer = malloc(LARGEST);
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if (size != 2 || !buffer) MPI_Abort(MPI_COMM_WORLD, 1);
  memset(buffer, rank, LARGEST);
  for (int bytes = 1; bytes <= LARGEST; bytes *= 4) {
    int rounds = bytes < 65536 ? MOST : 200;
    for (int round = -20; round < rounds; round++) {
      double begin = MPI_Wtime();
      if (rank == 0) {
        MPI_Send(buffer, bytes, MPI_CHAR, 1, 0, MPI_COMM_WORLD);
        MPI_Recv(buffer, bytes, MPI_CHAR, 1, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      } else {
        MPI_Recv(buffer, bytes, MPI_CHAR, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        MPI_Send(buffer, bytes, MPI_CHAR, 0, 0, MPI_COMM_WORLD);
      }
      if (round >= 0) times[round] = (MPI_Wtime() - begin) / 2;
    }
    qsort(times, rounds, sizeof *times, ascending);
    double median = times[rounds / 2];
    if (rank == 0) printf("%d %.2f %.1f\n", bytes, median * 1e6, bytes / median / 1e6);
  }
  MPI_Finalize();
  return 0;
}
