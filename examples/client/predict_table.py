"""Numbers from the lines of a table, by the names of its columns. python examples/client/predict_table.py [URL]"""

import csv
import sys
from pathlib import Path

from sluice_client import Client

FILE = Path(__file__).parent / "data" / "patients.csv"


def main(url: str = "http://127.0.0.1:3000") -> None:
    with FILE.open() as file:
        patients = [{name: float(value) for name, value in line.items()} for line in csv.DictReader(file)]
    with Client(url) as sluice:  # a data frame of pandas may be given as it is
        answer = sluice.regress(patients, model="diabetes-regressor")
    print("How much the disease will have progressed after a year, from 25 (little) to 346 (much):")
    for patient, prediction in zip(patients, answer.predictions, strict=True):
        print(f"  {prediction.value:6.1f}   age {patient['age']:.0f}, body mass index {patient['body_mass_index']:.1f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
