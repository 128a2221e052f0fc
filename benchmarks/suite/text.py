"""What codes of text are worth, against counting words, on the same machine in the same run.

Nobody's judgements are fitted: models see the texts alone. Codes are searched by ``isthmus.Index``, fused with BM25 as
it does that. Baselines are scikit-learn's TF-IDF with its own settings (what most people use), LSA on it, and bm25s:
with the stop words left out and endings cut as the index has them, and with all words as they are.
"""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import data
from benchmarks.figures import Bar, Figure, Measured, Settings
from benchmarks.suite._estimator import autoencoder

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

    from isthmus import Index
    from isthmus.core.ranks import fused

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

    def ndcg(places: Any) -> float:
        return float(np.mean([_ndcg(ids[found], good) for found, good in zip(places, judged, strict=True)]))

    words = TfidfVectorizer().fit(texts)
    tfidf = _ranked(np.asarray((words.transform(asked) @ words.transform(texts).T).todense()), len(texts))
    lsa = TruncatedSVD(128, random_state=settings.seed).fit(words.transform(texts))
    fitted = autoencoder()(epochs=settings.pick(20, 1), random_state=settings.seed).fit(texts)
    index = Index.build(fitted, texts)
    found = {by: index.search(asked, 10, by=by).places for by in ("code", "words", "both")}
    by_words = index.search(asked, len(texts), by="words").places
    kept = "LSA kept" if any("codes are those of LSA" in said for said in fitted.record_.remarks) else "trained codes"
    return {
        "code": ndcg(found["code"]),
        "fused": ndcg(found["both"]),
        "tfidf": ndcg(tfidf[:, :10]),
        "tfidf_fused": ndcg([fused(both, 10)[0] for both in zip(tfidf, by_words, strict=True)]),
        "lsa": ndcg(
            _ranked(_cosines(lsa.transform(words.transform(asked)), lsa.transform(words.transform(texts))), 10)
        ),
        "bm25": ndcg(found["words"]),
        "kept": kept,
        "remarks": fitted.record_.remarks,
    }


def topics(settings: Settings) -> Measured:
    """Share of the ten nearest titles of AG News that have the same topic."""
    news = _lines(data.folder("ag_news") / "ag_news_test.jsonl.gz")[:: settings.pick(1, 10)]
    return _alike([item["title"] for item in news], [item["label"] for item in news], "ag_news", settings)


def questions(settings: Settings) -> Measured:
    """Share of the ten nearest TREC questions that ask for the same kind of thing."""
    asked = _lines(data.folder("trec_questions") / "train.jsonl.gz")[:: settings.pick(1, 10)]
    return _alike([item["text"] for item in asked], [item["label"] for item in asked], "trec_questions", settings)


def _alike(texts: list[str], labels: list[Any], name: str, settings: Settings) -> Measured:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    from isthmus import Index

    label = np.array(labels)
    asking = np.random.default_rng(settings.seed).permutation(len(texts))[:_ASKED]

    def precise(places: Any) -> list[float]:
        others = [np.asarray(found)[np.asarray(found) != i] for found, i in zip(places, asking, strict=True)]
        # of words fewer than a hundred may be found: what is not there is not of the same kind
        return [
            float(np.mean([(label[found[:k]] == label[i]).sum() / k for found, i in zip(others, asking, strict=True)]))
            for k in (10, 100)
        ]

    words = TfidfVectorizer()
    counted = words.fit_transform(texts)
    lsa = TruncatedSVD(128, random_state=settings.seed).fit_transform(counted)
    fitted = autoencoder()(epochs=settings.pick(12, 1), random_state=settings.seed).fit(texts)
    index, queries = Index.build(fitted, texts), [texts[i] for i in asking]
    found = {
        "code": precise(index.search(queries, 101, by="code").places),
        "TF-IDF": precise(_ranked(np.asarray((counted[asking] @ counted.T).todense()), 101)),
        "BM25": precise(index.search(queries, 101, by="words").places),
        "BM25, all words": precise(_ranked(_all_words(texts, queries), 101)),
        "LSA-128": precise(_ranked(_cosines(lsa[asking], lsa), 101)),
        "fused": precise(index.search(queries, 101).places),
    }
    told = ", ".join(f"{name} {ten:.3f}/{hundred:.3f}" for name, (ten, hundred) in found.items())
    return Measured(
        value=found["code"][0],
        bar=Bar(at_least=max(ten for name, (ten, _) in found.items() if name not in ("code", "fused"))),
        runs=[found],
        data=name,
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


def _ranked(scores: np.ndarray, k: int) -> np.ndarray:
    """Places by falling score (m, k)."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def _all_words(texts: list[str], asked: list[str]) -> np.ndarray:
    """BM25 with no word left out and none cut: (asked, texts)."""
    import bm25s

    counted = bm25s.BM25()
    split = {"stopwords": [], "show_progress": False, "return_ids": False}
    counted.index(bm25s.tokenize(texts, **split), show_progress=False)
    return np.stack([counted.get_scores(words) for words in bm25s.tokenize(asked, **split)])


FIGURES = {
    "sts": Figure("Spearman with people's judgement of sentence pairs, ≥ TF-IDF's", sts),
    "cranfield": Figure("nDCG@10 of codes on Cranfield", cranfield, Bar(at_least=0.364)),
    "cranfield_fused": Figure("nDCG@10 of codes and BM25, fused", cranfield_fused, Bar(at_least=0.42)),
    "topics": Figure("P@10 by topic of AG News titles, ≥ the best of TF-IDF, BM25 and LSA", topics),
    "questions": Figure("P@10 by kind of TREC questions, ≥ the best of TF-IDF, BM25 and LSA", questions),
}
