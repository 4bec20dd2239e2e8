"""How warm will the sea be? A forecast with an interval, from a CSV. python examples/client/forecast_csv.py [URL]"""

import csv
import sys
from pathlib import Path

from sluice_client import Client

FILE = Path(__file__).parent / "data" / "sea_celsius.csv"
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def main(url: str = "http://127.0.0.1:3000") -> None:
    with FILE.open() as file:
        lines = list(csv.DictReader(file))
    celsius = [float(line["celsius"]) for line in lines]
    last = int(lines[-1]["month"][5:]) - 1  # the model wants the month of the last value, counted from 0

    with Client(url) as sluice:
        answer = sluice.predict_sequence({"values": celsius, "month": last}, model="elnino-forecaster")
    [forecast] = answer.forecasts
    quantiles = forecast.quantiles or {}
    low, high = quantiles["0.1"], quantiles["0.9"]

    print(f"The last value, of {lines[-1]['month']}: {celsius[-1]} °C")
    print("Forecast, with an interval of 80 %:")
    for i, mean in enumerate(forecast.mean):
        bar = " " * round(4 * (low[i] - 18)) + "─" * round(4 * (high[i] - low[i]))
        print(f"  {MONTHS[(last + 1 + i) % 12]}  {mean:5.2f} °C  {low[i]:5.2f} to {high[i]:5.2f}  {bar}")


if __name__ == "__main__":
    main(*sys.argv[1:])
