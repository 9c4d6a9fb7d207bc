"""Records what PyTorch says about a small trained model: the case under tests/fixtures/evaluation.

    python tests/python/make_evaluation_cases.py

Writes `train.safetensors` and `test.safetensors` (inputs, targets), `model.safetensors` (a model with smooth
activations, trained here), `hessian.safetensors` (the whole Hessian of the mean training loss, by automatic
differentiation) and `expected.json`. Each measure is written down here from its definition, independently of the service,
and computed in float64; all training samples form one m-batch, so that their order does not matter. Needs torch and
safetensors; what it writes does not change from run to run on one version of PyTorch.
"""

import json
import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional

FOLDER = Path(__file__).parent.parent / "fixtures" / "evaluation"
FEATURES, HIDDEN, CLASSES = 6, 8, 10
TRAIN, TEST = 120, 80
STEPS = 20
RADII = {
    "one_step": [0.01, 0.05, 0.2],
    "worst_l2": [0.05, 0.2, 0.5],
    "worst_adaptive_l2": [0.05, 0.2],
    "worst_adaptive_linf": [0.01, 0.05],
}


def samples(count, generator):
    targets = torch.randint(CLASSES, (count,), generator=generator)
    centres = torch.randn(CLASSES, FEATURES, generator=torch.Generator().manual_seed(3))
    return centres[targets] + 0.6 * torch.randn(count, FEATURES, generator=generator), targets


def logits(weights, x):
    w0, b0, w1, b1 = weights
    return torch.tanh(x @ w0.T + b0) @ w1.T + b1


def loss_of(weights, x, y, normalised=False):
    z = logits(weights, x)
    if normalised:
        u = z - z.mean(1, keepdim=True)
        z = u / u.norm(dim=1, keepdim=True)
    return functional.cross_entropy(z, y), (z.argmax(1) == y).sum().item()


def gradient_of(weights, x, y, normalised=False):
    weights = [w.detach().requires_grad_() for w in weights]
    loss, correct = loss_of(weights, x, y, normalised)
    return loss.item(), correct, torch.autograd.grad(loss, weights)


def norm(tensors):
    return math.sqrt(sum((t**2).sum().item() for t in tensors))


def one_step(weights, x, y, rho):
    start, right, g = gradient_of(weights, x, y)
    length = norm(g)
    moved = [w + rho * v / length for w, v in zip(weights, g)]
    loss, correct = loss_of(moved, x, y)
    return start, loss.item(), (right - correct) / len(y)


def worst_l2(weights, x, y, rho):
    start, right, _ = gradient_of(weights, x, y)
    worst, worst_correct = start, right
    delta = [torch.zeros_like(w) for w in weights]
    for _ in range(STEPS):
        _, _, g = gradient_of([w + d for w, d in zip(weights, delta)], x, y)
        length = norm(g)
        delta = [d + 2.5 * rho / STEPS * v / length for d, v in zip(delta, g)]
        outside = norm(delta)
        if outside > rho:
            delta = [d * rho / outside for d in delta]
        loss, correct = loss_of([w + d for w, d in zip(weights, delta)], x, y)
        if loss.item() > worst:
            worst, worst_correct = loss.item(), correct
    return start, worst, (right - worst_correct) / len(y)


def project_linf(delta, weights, rho):
    return [torch.clamp(d, -rho * w.abs(), rho * w.abs()) for d, w in zip(delta, weights)]


def project_l2(delta, weights, rho):
    def shrunk(lam):
        return [d / (1 + 2 * lam / w**2) for d, w in zip(delta, weights)]

    def length(deltas):
        return norm([d / w.abs() for d, w in zip(deltas, weights)])

    if length(delta) <= rho:
        return delta
    low, high = 0.0, 1.0
    while length(shrunk(high)) > rho:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if length(shrunk(middle)) > rho else (low, middle)
    return shrunk(high)


def apgd(weights, x, y, rho, linf):
    checkpoints, p, before = [], 0.22, 0.0
    while math.ceil(p * STEPS) < STEPS:
        checkpoints.append(math.ceil(p * STEPS))
        p, before = p + max(p - before - 0.03, 0.06), p
    start, right, gradient = gradient_of(weights, x, y, True)
    worst, worst_correct, worst_gradient = start, right, gradient
    delta = [torch.zeros_like(w) for w in weights]
    previous = delta
    step = last_step = 2 * rho
    last_worst, last, improved = start, 0, 0
    for i in range(STEPS):
        if linf:
            moved = [d + step * g.sign() * w.abs() for d, g, w in zip(delta, gradient, weights)]
            moved = project_linf(moved, weights, rho)
        else:
            length = norm(gradient)
            moved = [d + step * g / length * w.abs() for d, g, w in zip(delta, gradient, weights)]
            moved = project_l2(moved, weights, rho)
        mixed = [0.75 * m + 0.25 * q for m, q in zip(moved, previous)]
        previous, delta = delta, mixed
        loss, correct, gradient = gradient_of([w + d for w, d in zip(weights, delta)], x, y, True)
        if loss > worst:
            worst, worst_correct, worst_gradient = loss, correct, gradient
            improved += 1
        if i in checkpoints:
            few = improved < 0.75 * (i - last)
            nothing = last_step == step and last_worst == worst
            last, improved, last_step, last_worst = i, 0, step, worst
            if few or nothing:
                step /= 2
                # The model goes back to the worst weights for the next gradient; delta stays.
                gradient = worst_gradient
    return start, worst, (right - worst_correct) / len(y)


def calibration_error(probabilities, targets):
    confidence, predicted = probabilities.max(1)
    error = 0.0
    for b in range(15):
        inside = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        if inside.any():
            right = (predicted[inside] == targets[inside]).double().mean().item()
            error += inside.double().mean().item() * abs(right - confidence[inside].mean().item())
    return error


def main():
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(1)
    train, test = samples(TRAIN, generator), samples(TEST, generator)
    shapes = [(HIDDEN, FEATURES), (HIDDEN,), (CLASSES, HIDDEN), (CLASSES,)]
    weights = [0.5 * torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]
    x, y = train[0].double(), train[1]
    for _ in range(400):
        _, _, g = gradient_of(weights, x, y)
        weights = [w - 0.5 * v for w, v in zip(weights, g)]
    # What the service reads is float32.
    weights = [w.float().double() for w in weights]

    FOLDER.mkdir(parents=True, exist_ok=True)
    names = ["0.weight", "0.bias", "2.weight", "2.bias"]
    save_file({n: w.float().contiguous() for n, w in zip(names, weights)}, FOLDER / "model.safetensors")
    for name, (inputs, targets) in [("train", train), ("test", test)]:
        save_file({"inputs": inputs.contiguous(), "targets": targets}, FOLDER / f"{name}.safetensors")

    flat = torch.cat([w.flatten() for w in weights])

    def of_flat(vector):
        parts = torch.split(vector, [w.numel() for w in weights])
        return loss_of([part.view(w.shape) for part, w in zip(parts, weights)], x, y)[0]

    hessian = torch.autograd.functional.hessian(of_flat, flat)
    save_file({"hessian": hessian.float().contiguous()}, FOLDER / "hessian.safetensors")

    tx, ty = test[0].double(), test[1]
    z = logits(weights, tx)
    predicted = z.argmax(1)
    confusion = torch.zeros(CLASSES, CLASSES, dtype=torch.long)
    for target, found in zip(ty.tolist(), predicted.tolist()):
        confusion[target, found] += 1
    procedures = {
        "one_step": one_step,
        "worst_l2": worst_l2,
        "worst_adaptive_l2": lambda *a: apgd(*a, linf=False),
        "worst_adaptive_linf": lambda *a: apgd(*a, linf=True),
    }
    sharpness = []
    for measure, radii in RADII.items():
        for rho in radii:
            start, worst, errors = procedures[measure](weights, x, y, rho)
            sharpness.append(
                {"measure": measure, "radius": rho, "loss": start, "worst_loss": worst, "error_increase": errors}
            )
    expected = {
        "scores": {
            "loss": functional.cross_entropy(z, ty).item(),
            "accuracy": (predicted == ty).double().mean().item(),
            "top5_accuracy": (z.topk(5).indices == ty[:, None]).any(1).double().mean().item(),
            "calibration_error": calibration_error(z.softmax(1), ty),
            "confusion": confusion.tolist(),
        },
        "sharpness": sharpness,
        "eigenvalues": torch.linalg.eigvalsh(hessian).flip(0)[:5].tolist(),
        "trace": hessian.trace().item(),
    }
    (FOLDER / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
