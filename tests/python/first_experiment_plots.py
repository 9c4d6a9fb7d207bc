"""The plots of first_experiment.py: a line for the mean of each method's seeds, a band for their range.

Text and lines have colours of middle brightness on no background, so that both light and dark pages can show them; the
methods differ by marker and dashes, too, not by colour alone.
"""

import matplotlib

matplotlib.use("svg")

import numpy
from matplotlib import pyplot
from matplotlib.ticker import StrMethodFormatter

STYLES = [("#2a85c9", "o", "-"), ("#d5700f", "s", "--"), ("#0e9a74", "^", "-")]
NEUTRAL = "#767676"
SETTINGS = {
    "svg.hashsalt": "lookbehind",  # the same results give the same file
    "font.size": 11,
    "text.color": NEUTRAL,
    "axes.labelcolor": NEUTRAL,
    "axes.edgecolor": NEUTRAL,
    "xtick.color": NEUTRAL,
    "ytick.color": NEUTRAL,
    "grid.color": NEUTRAL,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def curves(results, methods, points, value):
    """For each method where its points lie, and the values there: [seeds, points]."""
    for method in methods:
        of = [result[points] for result in results if result["method"] == method]
        where = [point["gradients"] for point in of[0]]
        yield method, where, numpy.array([[value(point) for point in seed] for seed in of])


def figure(path, results, methods, points, value, label, title):
    with pyplot.rc_context(SETTINGS):
        drawing, axes = pyplot.subplots(figsize=(7.5, 4.4), layout="constrained")
        for (method, where, values), (colour, marker, dashes) in zip(curves(results, methods, points, value), STYLES):
            axes.fill_between(where, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.25, linewidth=0)
            axes.plot(where, values.mean(axis=0), color=colour, marker=marker, markersize=4, linestyle=dashes,
                      label=method)
        axes.set_xlabel("gradients (batches)")
        axes.set_ylabel(label)
        axes.set_title(title, fontsize=11)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.grid(alpha=0.25, linewidth=0.5)
        axes.legend(frameon=False)
        drawing.savefig(path, transparent=True, metadata={"Date": None})
        pyplot.close(drawing)


def plot(results, methods, out):
    seeds = len({result["seed"] for result in results})
    about = f"mean and range of {seeds} seeds" if seeds > 1 else "one seed"
    figure(out / "train-loss.svg", results, methods, "train_losses", lambda point: point["loss"],
           "training loss (nats)", f"CIFAR-10, minibatch loss at the (slow) weights: {about}")
    figure(out / "test-accuracy.svg", results, methods, "tests", lambda point: 100 * point["accuracy"],
           "test accuracy (%)", f"CIFAR-10, accuracy after each epoch: {about}")
