from msa.cli.main import main

main()
