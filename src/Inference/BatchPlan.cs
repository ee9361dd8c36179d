namespace SorsaOrt.Inference;

/// <summary>Which rows run together.</summary>
internal static class BatchPlan
{
    /// <summary>Batches of row numbers, of like lengths so that little is padding, longest first so that memory peaks at once.</summary>
    /// <param name="model">Says how many rows of a length fit into a run.</param>
    /// <param name="lengths">Tokens of each row.</param>
    /// <param name="batchSize">Most rows of a batch.</param>
    /// <param name="together">Whether a batch may hold rows of different lengths.</param>
    public static IEnumerable<int[]> Of(LanguageModel model, int[] lengths, int batchSize, bool together)
    {
        int[] order = [.. Enumerable.Range(0, lengths.Length).OrderByDescending(i => lengths[i])];
        for (int start = 0; start < order.Length;)
        {
            int longest = lengths[order[start]];
            int end = start + Math.Min(Math.Min(batchSize, model.MostRows(longest)), order.Length - start);
            while (!together && lengths[order[end - 1]] != longest)
                end--;
            yield return order[start..end];
            start = end;
        }
    }
}
