"""What codes of text are worth, against counting words, on the same machine in the same run.

Nobody's judgements are fitted: models see the texts alone. Baselines are scikit-learn's TF-IDF with its own settings
(what most people use), LSA on it, and BM25 with English stop words left out and endings cut.
"""

from __future__ import annotations

import gzip
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import data
from benchmarks.figures import Bar, Figure, Measured, Settings
from benchmarks.suite._estimator import autoencoder

#: Reciprocal rank fusion adds 1 / (this + place).
_FUSED = 10
#: Titles that ask for their neighbours.
_ASKED = 1000


def sts(settings: Settings) -> Measured:
    """Spearman correlation of the cosine of two sentences' codes with what people said (STS benchmark, dev)."""
    from scipy.stats import spearmanr
    from sklearn.feature_extraction.text import TfidfVectorizer

    place = data.folder("sts_benchmark")
    train, dev = _lines(place / "sts_train.jsonl.gz"), _lines(place / "sts_dev.jsonl.gz")
    sentences = [pair[side] for pair in train + dev for side in ("sentence1", "sentence2")]
    sentences = sentences[:: settings.pick(1, 20)]
    sides = [[pair[side] for pair in dev] for side in ("sentence1", "sentence2")]
    judged = [pair["score"] for pair in dev]

    def agrees(first: Any, second: Any) -> float:
        cosines = np.asarray((_unit(first) * _unit(second)).sum(1)).ravel()
        return float(spearmanr(cosines, judged)[0])

    words = TfidfVectorizer().fit(sentences)
    first, second = (words.transform(side) for side in sides)
    tfidf = float(spearmanr(np.asarray(first.multiply(second).sum(1)).ravel(), judged)[0])
    # the codes are those of the start: of the decoder, which alone is trained, nothing is asked here
    options = {"epochs": settings.pick(2, 1), "random_state": settings.seed}
    wide = autoencoder()("lsa", latent_dim=settings.pick(512, 32), **options).fit(sentences)
    runs = [{"lsa_recipe": agrees(*map(wide.transform, sides)), "tfidf": tfidf, "latent_dim": wide.model_.latent_dim}]
    return Measured(
        value=runs[0]["lsa_recipe"],
        bar=Bar(at_least=tfidf),
        runs=runs,
        data="sts_benchmark",
        seed=settings.seed,
        note=f"recipe lsa, {wide.model_.latent_dim} numbers; TF-IDF {tfidf:.4f}",
    )


def cranfield(settings: Settings) -> Measured:
    """nDCG@10 of the codes' cosine on Cranfield's queries, default settings."""
    found = _cranfield(settings)
    return Measured(
        value=found["code"],
        runs=[found],
        data="cranfield",
        seed=settings.seed,
        note=f"TF-IDF {found['tfidf']:.4f}, BM25 {found['bm25']:.4f}, LSA-128 {found['lsa']:.4f}; {found['kept']}",
    )


def cranfield_fused(settings: Settings) -> Measured:
    """nDCG@10 of the codes' ranking and BM25's, fused by reciprocal rank."""
    found = _cranfield(settings)
    return Measured(
        value=found["fused"],
        runs=[found],
        data="cranfield",
        seed=settings.seed,
        note=f"codes alone {found['code']:.4f}, BM25 alone {found['bm25']:.4f}, TF-IDF and BM25 fused "
        f"{found['tfidf_fused']:.4f}",
    )


@cache
def _cranfield(settings: Settings) -> dict[str, Any]:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    place = data.folder("cranfield")
    documents, queries = _lines(place / "docs.jsonl.gz"), _lines(place / "queries.jsonl.gz")
    relevant: dict[int, set[int]] = {}
    for line in (place / "qrels.tsv").read_text().splitlines():
        query, document, judged = line.split("\t")
        if judged.isdigit() and int(judged) > 0:
            relevant.setdefault(int(query), set()).add(int(document))
    ids = np.array([int(document["id"]) for document in documents])
    texts = [f"{document['title']} {document['text']}" for document in documents]
    asked = [query["text"] for query in queries]
    judged = [relevant[int(query["id"])] for query in queries]

    def ndcg(scores: np.ndarray) -> float:
        return float(np.mean([_ndcg(ids[np.argsort(-s, kind="stable")[:10]], good)
                              for s, good in zip(scores, judged, strict=True)]))  # fmt: skip

    words = TfidfVectorizer().fit(texts)
    tfidf = np.asarray((words.transform(asked) @ words.transform(texts).T).todense())
    lsa = TruncatedSVD(128, random_state=settings.seed).fit(words.transform(texts))
    bm25 = _bm25(texts, asked)
    fitted = autoencoder()(epochs=settings.pick(20, 1), random_state=settings.seed).fit(texts)
    codes = _cosines(fitted.transform(asked), fitted.transform(texts))
    kept = "LSA kept" if any("codes are those of LSA" in said for said in fitted.record_.remarks) else "trained codes"
    return {
        "code": ndcg(codes),
        "fused": ndcg(_fuse(codes, bm25)),
        "tfidf": ndcg(tfidf),
        "tfidf_fused": ndcg(_fuse(tfidf, bm25)),
        "lsa": ndcg(_cosines(lsa.transform(words.transform(asked)), lsa.transform(words.transform(texts)))),
        "bm25": ndcg(bm25),
        "kept": kept,
        "remarks": fitted.record_.remarks,
    }


def topics(settings: Settings) -> Measured:
    """Share of the ten nearest titles of AG News that have the same topic."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    news = _lines(data.folder("ag_news") / "ag_news_test.jsonl.gz")[:: settings.pick(1, 10)]
    titles, topic = [item["title"] for item in news], np.array([item["label"] for item in news])
    asking = np.random.default_rng(settings.seed).permutation(len(titles))[:_ASKED]

    def precise(scores: np.ndarray) -> list[float]:
        scores = scores.copy()
        scores[np.arange(len(asking)), asking] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")
        return [float((topic[order[:, :k]] == topic[asking, None]).mean()) for k in (10, 100)]

    words = TfidfVectorizer()
    counted = words.fit_transform(titles)
    lsa = TruncatedSVD(128, random_state=settings.seed).fit_transform(counted)
    fitted = autoencoder()(epochs=settings.pick(12, 1), random_state=settings.seed).fit(titles)
    codes = fitted.transform(titles)
    found = {
        "code": precise(_cosines(codes[asking], codes)),
        "TF-IDF": precise(np.asarray((counted[asking] @ counted.T).todense())),
        "BM25": precise(_bm25(titles, [titles[i] for i in asking])),
        "LSA-128": precise(_cosines(lsa[asking], lsa)),
    }
    told = ", ".join(f"{name} {ten:.3f}/{hundred:.3f}" for name, (ten, hundred) in found.items())
    return Measured(
        value=found["code"][0],
        bar=Bar(at_least=max(ten for name, (ten, _) in found.items() if name != "code")),
        runs=[found],
        data="ag_news",
        seed=settings.seed,
        note=f"P@10/P@100: {told}",
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf8") as file:
        return [json.loads(line) for line in file]


def _unit(codes: np.ndarray) -> np.ndarray:
    return codes / np.linalg.norm(codes, axis=1, keepdims=True).clip(1e-12)


def _cosines(asked: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return _unit(asked) @ _unit(codes).T


def _ndcg(found: np.ndarray, good: set[int]) -> float:
    gains = 1 / np.log2(np.arange(2, 12))
    hits = np.array([document in good for document in found.tolist()])
    return float((gains[: len(hits)] * hits).sum() / gains[: min(10, len(good))].sum())


def _fuse(*scores: np.ndarray) -> np.ndarray:
    """Reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009)."""
    places = [np.argsort(np.argsort(-s, axis=1, kind="stable"), axis=1) for s in scores]
    return sum(1 / (_FUSED + 1 + place) for place in places)


def _bm25(texts: list[str], asked: list[str], k: float = 1.5, b: float = 0.75) -> np.ndarray:
    """Okapi BM25 (Robertson and Zaragoza, 2009): (asked, texts)."""
    import scipy.sparse as sp
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

    def analyse(text: str) -> list[str]:
        return [_stem(w) for w in re.findall(r"\w\w+", text.lower()) if w not in ENGLISH_STOP_WORDS]

    counter = CountVectorizer(analyzer=analyse)
    counts = counter.fit_transform(texts).astype(float).tocsr()
    lengths = np.asarray(counts.sum(1)).ravel()
    in_documents = np.bincount(counts.indices, minlength=counts.shape[1])
    idf = np.log(1 + (len(texts) - in_documents + 0.5) / (in_documents + 0.5))
    norm = np.repeat(k * (1 - b + b * lengths / lengths.mean()), np.diff(counts.indptr))
    counts.data = counts.data * (k + 1) / (counts.data + norm) * idf[counts.indices]
    return np.asarray((counter.transform(asked).astype(float) @ sp.csr_matrix(counts).T).todense())


def _stem(word: str) -> str:
    """Without the commonest English endings."""
    if len(word) <= 4 or word.endswith("ss"):
        return word
    return re.sub(r"(ies|ied)$", "y", word) if word.endswith(("ies", "ied")) else re.sub(
        r"(ing|edly|ed|ly|es|s)$", "", word
    )  # fmt: skip


FIGURES = {
    "sts": Figure("Spearman with people's judgement of sentence pairs, ≥ TF-IDF's", sts),
    "cranfield": Figure("nDCG@10 of codes on Cranfield", cranfield, Bar(at_least=0.364)),
    "cranfield_fused": Figure("nDCG@10 of codes and BM25, fused", cranfield_fused, Bar(at_least=0.42)),
    "topics": Figure("P@10 by topic of AG News titles, ≥ the best of TF-IDF, BM25 and LSA", topics),
}
