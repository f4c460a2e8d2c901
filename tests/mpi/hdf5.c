/* Each rank writes its place of one file; the first reads all of it. */
#include <hdf5.h>
#include <mpi.h>
#include <stdio.h>

int main(int argc, char **argv) {
  int rank, size;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  hid_t parallel = H5Pcreate(H5P_FILE_ACCESS), collective = H5Pcreate(H5P_DATASET_XFER);
  H5Pset_fapl_mpio(parallel, MPI_COMM_WORLD, MPI_INFO_NULL);
  H5Pset_dxpl_mpio(collective, H5FD_MPIO_COLLECTIVE);
  hsize_t all = size, place = rank, one = 1;
  hid_t file = H5Fcreate(argv[1], H5F_ACC_TRUNC, H5P_DEFAULT, parallel);
  hid_t space = H5Screate_simple(1, &all, NULL), own = H5Screate_simple(1, &one, NULL);
  hid_t data = H5Dcreate2(file, "x", H5T_NATIVE_INT, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  H5Sselect_hyperslab(space, H5S_SELECT_SET, &place, NULL, &one, NULL);
  int value = 10 + rank, values[64];
  herr_t written = H5Dwrite(data, H5T_NATIVE_INT, own, space, collective, &value);
  H5Dclose(data);
  H5Fclose(file);
  MPI_Barrier(MPI_COMM_WORLD);
  if (rank == 0 && written >= 0 && size <= 64) {
    file = H5Fopen(argv[1], H5F_ACC_RDONLY, H5P_DEFAULT);
    data = H5Dopen2(file, "x", H5P_DEFAULT);
    H5Dread(data, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    for (int i = 0; i < size; i++) printf(i ? ", %d" : "[%d", values[i]);
    puts("]");
  }
  MPI_Finalize();
  return written < 0;
}
