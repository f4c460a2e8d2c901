version 1.0

workflow w {
  input { String word }
  call one { input: w = word }
  call two { input: f = one.o }
  call three { input: f = two.o }
  output { String o = read_string(three.o) }
}

task one {
  input { String w }
  command <<< python3 -c "print('~{w}' * 2)" > one.txt >>>
  output { File o = "one.txt" }
  runtime { docker: "localhost:PORT/py:1" }
}

task two {
  input { File f }
  command <<< . /etc/os-release; cat ~{f} > two.txt; echo $VERSION_CODENAME >> two.txt >>>
  output { File o = "two.txt" }
  runtime { docker: "localhost:PORT/py:1" }
}

task three {
  input { File f }
  command <<< paste -s -d- ~{f} > three.txt >>>
  output { File o = "three.txt" }
  runtime { docker: "localhost:PORT/py:1" }
}
